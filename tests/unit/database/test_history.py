import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection

from rcsops.database import history, open_engine, prepare_history, writing
from rcsops.database.history import Attachment, HistoryMessage
from rcsops.ua.receipts import MessageStatus, further, states_before

ALEX, CAROL = "sip:alex@rcs.example", "sip:carol@rcs.example"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    url = f"sqlite:///{tmp_path}/history.db"
    with writing(open_engine(url, create=True), url) as connection:
        prepare_history(connection)
        yield connection


def message(identity: str, peer: str = ALEX, direction: str = "in") -> HistoryMessage:
    return HistoryMessage(peer, direction, identity, f"text {identity}", "received", 10.5, 11.25)


def test_a_message_comes_back_as_it_was(connection: Connection) -> None:
    entry = message("m1")._replace(
        text="zażółć \x1b[0m\n", conversation_id="c", content_type="text/html", reason="r"
    )
    assert history.add(connection, entry) == 1
    assert history.load(connection) == [entry._replace(id=1)]


def test_a_resend_is_recognised(connection: Connection) -> None:
    assert history.add(connection, message("m1")) == 1
    assert history.add(connection, message("m1")._replace(text="again")) is None
    others = [history.add(connection, message("m1", CAROL))]
    others.append(history.add(connection, message("m1", direction="out")))
    assert [each.id for each in history.load(connection)] == [1, *others]


def test_a_file_stands_with_its_message(connection: Connection) -> None:
    file = Attachment("cat.jpg", "/tmp/cat.jpg", 2**40, "a" * 40)
    history.add(connection, message("m1")._replace(attachment=file))
    assert history.load(connection)[0].attachment == file
    there = file._replace(path="/tmp/cat-1.jpg", sha1="b" * 40)
    peer = history.load(connection)[0].peer
    assert history.file_arrived(connection, peer, "m1", "/tmp/cat-1.jpg", "b" * 40)
    assert history.load(connection)[0].attachment == there
    assert not history.file_arrived(connection, peer, "m2", "x", "")


def test_the_status_of_what_was_sent_changes(connection: Connection) -> None:
    history.add(connection, message("m1", direction="out")._replace(status="pending"))
    history.add(connection, message("m1")._replace(status="received"))
    over = ("pending",)
    assert history.advance(connection, "m1", "delivered", over=over, peer=CAROL) is None
    assert history.advance(connection, "m1", "failed", over=over, reason="408") == ALEX
    assert history.advance(connection, "m1", "delivered", over=over) is None
    assert history.advance(connection, "m2", "delivered", over=over) is None
    assert [(each.status, each.reason) for each in history.load(connection)] == [
        ("failed", "408"),
        ("received", ""),
    ]
    assert [each.direction for each in history.load(connection, statuses=["failed"])] == ["out"]


def test_the_last_ones_come_oldest_first_and_page_backwards(connection: Connection) -> None:
    for number in range(10):
        history.add(connection, message(f"m{number}", ALEX if number % 2 else CAROL))
    last = history.load(connection, peer=ALEX, limit=2)
    assert [each.message_id for each in last] == ["m7", "m9"]
    earlier = history.load(connection, peer=ALEX, limit=2, before=last[0].id)
    assert [each.message_id for each in earlier] == ["m3", "m5"]


def test_each_state_has_its_time_and_none_goes_back(connection: Connection) -> None:
    start = time.time()
    history.add(connection, message("m1", direction="out")._replace(status="queued"))
    early = ("queued", "stored", "sent")
    assert history.advance(connection, "m1", "displayed", over=(*early, "delivered"), peer=ALEX)
    # Late: the time is kept, the state stays.
    assert history.advance(connection, "m1", "sent", over=early[:2], peer=ALEX, way="x") is None
    assert history.advance(connection, "m1", "delivered", over=early, peer=ALEX) is None
    assert history.advance(connection, "m1", "failed", over=early, peer=ALEX) is None
    (kept,) = history.load(connection)
    assert kept.status == "displayed"
    assert list(kept.times) == ["queued", "sent", "delivered", "displayed"]
    assert kept.displayed_at is not None and kept.delivered_at is not None
    assert start <= kept.displayed_at <= kept.delivered_at
    assert history.advance(connection, "m1", "displayed", over=early, peer=ALEX) is None
    assert history.load(connection) == [kept]


@pytest.mark.parametrize("before", ["queued", "stored", "sent", "delivered", "displayed", "failed"])
@pytest.mark.parametrize(
    "states",
    [
        ("sent",),
        ("delivered", "sent"),
        ("sent", "delivered", "displayed"),
        ("stored", "displayed"),
    ],
    ids="-".join,
)
def test_states_noted_together_are_as_if_noted_one_by_one(
    connection: Connection, before: str, states: tuple[str, ...]
) -> None:
    for name in ("one", "all"):
        entry = message(name, direction="out")._replace(status=before, reason="r", way="message")
        history.add(connection, entry)
    for state in states:
        over = states_before(MessageStatus(state))
        history.advance(connection, "one", state, over=over, peer=ALEX, way="session")
    last = further(states)
    times = dict.fromkeys(sorted(states, key=lambda each: each == last), 20.0)
    history.progress(connection, ALEX, "all", times, over=states_before(last), way="session")
    one, together = history.load(connection)
    assert (one.status, one.reason, one.way) == (together.status, together.reason, together.way)
    assert set(one.times) == set(together.times)


def test_notifications_are_settled_one_by_one_or_together(connection: Connection) -> None:
    both = history.DELIVERY | history.DISPLAY
    for name, kinds in (("m1", history.DELIVERY), ("m2", history.DISPLAY), ("m3", both)):
        history.add(connection, message(name)._replace(wanted=both, owed=both))
        history.settle(connection, ALEX, name, kinds, 20.0)
    found = [(each.owed, each.delivered_at) for each in history.load(connection)]
    assert found == [(history.DISPLAY, 20.0), (history.DELIVERY, None), (0, 20.0)]
