"""Agents that end at random moments, in order or by kill -9: what arrives is there once."""

import random
import time
from collections.abc import Sequence

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import PATIENCE, ChatProcess, Lab
from tests.faults.endings import ENDINGS, end, numbers, shown, status_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KILL = "kill -9"


@pytest.mark.parametrize(
    ("ways", "seed"), [*(([KILL], seed) for seed in range(4)), (ENDINGS, 1), (ENDINGS, 2)]
)
def test_at_random_moments(lab: Lab, ways: Sequence[str], seed: int) -> None:
    chance = random.Random(seed)
    alex, bob = lab.users("alex", "bob")
    running: dict[str, ChatProcess] = {}
    of_bob: list[ChatProcess] = []

    def start(user: str) -> None:
        running[user] = chat = lab.start(user)
        chat.wait("registered")
        if user == bob:
            of_bob.append(chat)

    start(alex)
    start(bob)
    sent = 0
    for _ in range(8):
        one = running[alex]
        one.type(f"/{chance.choice(('invite', 'invite', 'message'))} {bob}")
        for _ in range(chance.randrange(1, 12)):
            one.say(f"{sent} {'z' * chance.choice((10, 200, 4000, 400_000))}")
            sent += 1
        time.sleep(chance.random() * 0.7)
        who, how = chance.choice((alex, bob)), chance.choice(ways)
        victim = running[who]
        if how == KILL:
            victim.kill()
            time.sleep(chance.random() * 0.3)
        else:
            end(victim, how)
        if how != "bye":
            if how != KILL:
                victim.ended(90)
            victim.__exit__(None, None, None)
            start(who)
    wait_until(
        lambda: not {"queued", "stored", "sent"} & set(status_of(lab, alex).values()),
        timeout=4 * PATIENCE,
        what="each message has come to its end",
    )
    states = status_of(lab, alex)
    got = numbers(lab.history(bob), "in")
    assert len(got) == len(set(got))
    assert set(got) == {number for number, state in states.items() if state == "delivered"}
    for chat in running.values():
        if KILL in ways:
            chat.kill()
        else:
            chat.finish()
        chat.__exit__(None, None, None)
    assert set(shown(*of_bob).values()) == {1}
