"""``rcsops capabilities``, and what ``send`` and ``chat`` make of what a peer can do."""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from rcsops.rcs import CPM_MESSAGE, CPM_SESSION, feature_text
from rcsops.sip import Message, Request
from rcsops.testing import wait_until
from tests.cli.chatting import Finished, Lab
from tests.cli.test_scripts import listening, rcsops, send, sent
from tests.live.phones import Phone

PAGER = feature_text([CPM_MESSAGE])
SESSION = feature_text([CPM_SESSION])
LONG = "long " * 200


def capabilities(lab: Lab, *words: str, **environment: str) -> Finished:
    return rcsops(lab, "capabilities", *words, stdin=b"", **environment)


class Device:
    """A device of somebody's that answers with one status for each method; None is silence."""

    def __init__(self, lab: Lab, name: str, tags: str, answers: dict[str, int | None]) -> None:
        self.phone = Phone(lab.server.address, name, password=f"secret of {name}", transport="tcp")
        self.phone.register()
        self.tags = tags
        self.answers = answers
        self.asked: list[Request] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                message: Message = self.phone.receive(lambda _: True, 0.1)
            except TimeoutError:
                continue
            except OSError:
                return
            if not isinstance(message, Request) or message.method == "ACK":
                continue
            self.asked.append(message)
            status = self.answers.get(message.method, 405)
            if status is None:
                continue
            tagged = {"Contact": f"{self.phone.contact}{self.tags}"}
            self.phone.answer(message, status, **(tagged if message.method == "OPTIONS" else {}))

    def count(self, method: str) -> int:
        return sum(each.method == method for each in self.asked)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join(10)
        self.phone.close()


@contextmanager
def device(lab: Lab, name: str, tags: str = "", **answers: int | None) -> Iterator[Device]:
    made = Device(lab, name, tags, {"OPTIONS": 200, "MESSAGE": 200, **answers})
    try:
        yield made
    finally:
        made.close()


# --- the command ------------------------------------------------------------------------------


def test_a_peer_that_is_there_that_leaves_and_that_there_is_not(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    done = capabilities(lab, alex, bob, "--known")
    assert (done.code, done.out) == (1, f"nothing is known of {bob}\n")
    with listening(lab, bob):
        done = capabilities(lab, alex, bob)
        assert done.code == 0, done.err
        first, *table = done.out.splitlines()
        assert first == f"{bob} is online, with RCS"
        rows = dict(line.rsplit(maxsplit=1) for line in table)
        assert rows["SERVICE"] == bob.upper()
        assert rows["chat session"] == rows["message without a session"] == "yes"
        assert rows["file over MSRP"] == rows["geolocation push"] == "yes"
        assert rows["large message"] == "no"
    done = capabilities(lab, alex, bob)
    assert done.code == 1
    assert done.out.startswith(f"{bob} is offline (480); what it can do was heard at ")
    assert "chat session" in done.out
    assert capabilities(lab, alex, bob, "--known").out == done.out
    done = capabilities(lab, alex, "nobody")
    assert (done.code, done.out) == (1, "there is no user nobody (404)\n")


def test_as_json(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob):
        done = capabilities(lab, bob, "--as", alex, "--json")
        assert done.code == 0
        document = json.loads(done.out)
        assert document["peer"] == f"sip:{bob}@rcs.example"
        assert (document["user"], document["state"]) == (f"sip:{alex}@rcs.example", "online")
        assert document["services"]["chat"] is True
        assert document["services"]["large_message"] is False
        assert document["status"] == 200
        assert document["asked_at"] == document["learned_at"]
    done = capabilities(lab, alex, bob, "--json")
    assert (done.code, json.loads(done.out)["state"]) == (1, "offline")


@pytest.mark.parametrize(
    ("tags", "status", "words"),
    [
        ("", 200, "{} is online, without RCS"),
        ("", 405, "the answer says nothing of {} (405)"),
        ("", 501, "the answer says nothing of {} (501)"),
        ("", 403, "{} is not told to you (403)"),
        ("", None, "{} is offline (408)"),
        (PAGER, 200, "{} is online, with RCS"),
    ],
)
def test_other_devices(lab: Lab, tags: str, status: int | None, words: str) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, tags, OPTIONS=status):
        done = capabilities(lab, alex, bob, "--timeout", "2")
        assert done.out.splitlines()[0] == words.format(bob)
        assert done.code == (0 if tags else 1)
        assert ("message without a session  yes" in done.out) is bool(tags)


def test_the_user_is_found_out_where_that_can_be(lab: Lab) -> None:
    alex, bob, carol = lab.users("alex", "bob", "carol")
    others = [each for each in lab.project.credentials.accounts() if not each.startswith(alex)]
    kept = {each: lab.project.credentials.get(each) for each in others}
    for each in others:
        lab.project.credentials.remove(each)
    try:
        # The only account here.
        assert capabilities(lab, bob).out == f"{bob} is offline (480)\n"
        lab.keep_password(bob, f"secret of {bob}")
        # PEER's own is none to ask with.
        assert capabilities(lab, bob).out == f"{bob} is offline (480)\n"
        done = capabilities(lab, carol)
        assert done.code == 2
        assert f"error: as whom? 2 accounts are kept here: {alex}, {bob}\n" in done.err
        assert f"hint: name the user first: rcsops capabilities USER {carol}" in done.err
    finally:
        for each, hashes in kept.items():
            assert hashes is not None
            lab.project.credentials.put(each, dict(hashes))


@pytest.mark.parametrize("words", [[], ["a", "b", "c"], ["a", "b", "--as", "c"], ["a", "a"]])
def test_what_makes_no_sense(lab: Lab, words: Sequence[str]) -> None:
    done = capabilities(lab, *words, RCSOPS_PASSWORD="secret of a")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")


def test_a_wrong_password(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    done = capabilities(lab, alex, bob, RCSOPS_PASSWORD="not the secret")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: the server does not take the password of sip:{alex}@")


# --- what is made of it -----------------------------------------------------------------------


def test_a_place_goes_in_words_to_a_device_that_takes_none(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, PAGER) as phone:
        assert sent(lab, alex, bob, "--location", "48.2082,16.3738")["status"] == "sent"
        (message,) = [each for each in phone.asked if each.method == "MESSAGE"]
        assert b"geo:48.2082,16.3738" in message.body
        assert b"rcspushlocation" not in message.body


def test_what_needs_a_session_is_not_sent_to_who_takes_none(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, PAGER) as phone:
        done = send(lab, alex, bob, LONG)
        assert done.code == 1
        assert "and the peer's devices take no sessions" in done.err
        assert phone.count("INVITE") == phone.count("MESSAGE") == 0


def test_a_short_text_goes_in_a_session_to_who_takes_nothing_else(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, SESSION, INVITE=603) as phone:
        assert capabilities(lab, alex, bob).code == 0
        assert sent(lab, alex, bob, "hello")["way"] == "session"
        assert (phone.count("MESSAGE"), phone.count("INVITE")) == (0, 1)


def test_a_short_text_asks_nothing(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob) as phone:
        assert sent(lab, alex, bob, "hello")["way"] == "message"
        assert phone.count("OPTIONS") == 0


def test_a_chat_with_a_device_that_takes_messages_alone(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, PAGER, INVITE=488) as phone:
        done = lab.run(alex, bob, "--json", stdin="hello\n")
        assert done.code == 0, done.out
        assert [each["peer"] for each in done.of("pager")] == [f"sip:{bob}@rcs.example"]
        assert (phone.count("INVITE"), phone.count("OPTIONS"), phone.count("MESSAGE")) == (1, 1, 1)
        # The next time it is known.
        done = lab.run(alex, bob, "--json", stdin="hello again\n")
        assert done.code == 0, done.out
        assert done.of("note")[0]["note"] == f"{bob}'s devices take no sessions"
        assert (phone.count("INVITE"), phone.count("OPTIONS"), phone.count("MESSAGE")) == (1, 1, 2)


def test_a_chat_with_a_device_that_takes_neither(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with device(lab, bob, INVITE=488) as phone:
        done = lab.run(alex, bob, "--json", stdin="hello\n")
        assert done.code == 1
        assert done.of("pager") == []
        wait_until(lambda: phone.count("OPTIONS") == 1, 5)
