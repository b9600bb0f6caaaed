"""Traces of several processes become one ladder."""

import dataclasses
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rcsops.trace import (
    Arrow,
    cell_width,
    draw_ladder,
    ladder_json,
    merge,
    order_nodes,
    times_between,
)
from rcsops.trace.labels import fitting_label

from .messages import (
    ALEX,
    ALEX_MSRP,
    BOB,
    BOB_MSRP,
    SERVER,
    msrp,
    request,
    response,
    seen,
    sent,
)

alex, server, bob = ("alex", ALEX), ("server", SERVER), ("bob", BOB)
SDP = "a=path:msrp://127.0.0.1:50001/session-of-alex;tcp\r\n"
INVITE = request("INVITE", branch="1", body=SDP)
FORWARDED = request("INVITE", branch="2", body=SDP)


def session() -> list:  # type: ignore[type-arg]
    return [
        *sent(100.0, alex, server, INVITE),
        *sent(100.01, server, bob, FORWARDED),
        *sent(100.02, bob, server, response(200, "OK", "INVITE", branch="2")),
        *sent(100.03, server, alex, response(200, "OK", "INVITE", branch="1")),
        *sent(100.04, ("alex", ALEX_MSRP), ("bob", BOB_MSRP), msrp("t1", "SEND")),
        *sent(100.05, ("bob", BOB_MSRP), ("alex", ALEX_MSRP), msrp("t1", "200 OK")),
    ]


def test_each_message_is_one_arrow_whatever_the_order_of_the_lines() -> None:
    entries = session()
    random.Random(3).shuffle(entries)
    arrows = merge(entries)
    assert [(arrow.source, arrow.target, arrow.label) for arrow in arrows] == [
        ("alex", "server", "INVITE (SDP)"),
        ("server", "bob", "INVITE (SDP)"),
        ("bob", "server", "200 OK (INVITE)"),
        ("server", "alex", "200 OK (INVITE)"),
        ("alex", "bob", "SEND (empty)"),
        ("bob", "alex", "200 OK"),
    ]
    assert arrows[0].time == 0
    assert abs(arrows[-1].time - 0.05) < 1e-6
    assert not any(arrow.retransmission or arrow.lost for arrow in arrows)


def test_one_side_alone_is_enough() -> None:
    only_alex = [entry for entry in session() if entry.node == "alex"]
    ends = [(arrow.source, arrow.target) for arrow in merge(only_alex)]
    assert ends == [
        ("alex", "127.0.0.1:5060"),
        ("127.0.0.1:5060", "alex"),
        ("alex", "127.0.0.1:50002"),
        ("127.0.0.1:50002", "alex"),
    ]


def test_msrp_belongs_to_the_call_that_named_its_path() -> None:
    assert {arrow.call_id for arrow in merge(session())} == {"call-1"}


def _drawn(arrows: list[Arrow], *, width: int = 80, ascii_only: bool = False) -> str:
    lines = draw_ladder(arrows, width=width, ascii_only=ascii_only)
    return "\n".join(line.text for line in lines)


def test_a_retransmission_is_marked_and_a_lost_one_too() -> None:
    entries = [
        seen(1.0, "alex", "out", ALEX, SERVER, INVITE),
        *sent(1.5, alex, server, INVITE),
        *sent(1.6, server, alex, response(100, "Trying", "INVITE", branch="1")),
    ]
    first, second, third = merge(entries)
    assert (first.lost, first.retransmission) == (True, False)
    assert (second.lost, second.retransmission) == (False, True)
    assert (third.lost, third.retransmission) == (False, False)
    drawn = _drawn([first, second, third])
    assert "(lost)" in drawn
    assert "(again)" in drawn


def test_the_same_status_of_two_transactions_is_no_retransmission() -> None:
    arrows = merge(
        [
            *sent(1.0, server, alex, response(200, "OK", "BYE", branch="1")),
            *sent(1.1, server, alex, response(200, "OK", "BYE", branch="2")),
        ]
    )
    assert [arrow.retransmission for arrow in arrows] == [False, False]


def test_a_server_on_every_address_is_found_by_its_port() -> None:
    entries = [
        seen(1.0, "alex", "out", ALEX, SERVER, INVITE),
        seen(1.001, "server", "in", ("0.0.0.0", 5060), ALEX, INVITE),
    ]
    assert [(arrow.source, arrow.target) for arrow in merge(entries)] == [("alex", "server")]


def test_a_sender_that_writes_late_does_not_turn_the_order_round() -> None:
    answer = response(401, "Unauthorized", "INVITE", branch="1")
    entries = [
        seen(1.0002, "alex", "out", ALEX, SERVER, INVITE),
        seen(1.0003, "server", "in", SERVER, ALEX, INVITE),
        seen(1.0007, "server", "out", SERVER, ALEX, answer),
        seen(1.0005, "alex", "in", ALEX, SERVER, answer),
        seen(1.0006, "alex", "out", ALEX, SERVER, request("ACK", branch="1")),
    ]
    assert [arrow.label for arrow in merge(entries)] == [
        "INVITE (SDP)",
        "401 Unauthorized (INVITE)",
        "ACK",
    ]


def test_the_same_octets_again_and_again_are_put_together_in_linear_time() -> None:
    def seconds(count: int) -> float:
        data = request("OPTIONS", branch="1")
        entries = [seen(number / 5, "capture", "seen", ALEX, SERVER, data)
                   for number in range(count)]  # fmt: skip
        began = time.process_time()
        assert len(merge(entries)) == count
        return time.process_time() - began

    seconds(100)
    assert seconds(16_000) < 24 * seconds(2_000)


def test_no_trace_no_ladder() -> None:
    assert merge([]) == []
    assert draw_ladder([]) == []


def test_the_server_stands_in_the_middle() -> None:
    assert order_nodes(merge(session())) == ["alex", "server", "bob"]


def test_the_json_has_what_a_script_asks_for() -> None:
    entries = ladder_json(merge(session()))
    assert entries[0]["method"] == "INVITE"
    assert "status" not in entries[0]
    assert (entries[2]["status"], entries[2]["cseq_method"]) == (200, "INVITE")
    assert (entries[4]["protocol"], entries[4]["transaction_id"]) == ("msrp", "t1")
    for entry in entries:
        assert {"time", "from", "to", "call_id", "label"} <= entry.keys()
        assert entry["call_id"] == "call-1"


def test_the_picture() -> None:
    entries = [
        *session(),
        *sent(
            101.0,
            server,
            alex,
            response(407, "Proxy Authentication Required", "INVITE", branch="9"),
        ),
    ]
    assert _drawn(merge(entries), width=64).splitlines() == [
        "alex 127.0.0.1:40001   server 127.0.0.1:5060",
        "bob 127.0.0.1:40002",
        " seconds alex                    server                     bob",
        "   0.000   │───── INVITE (SDP) ────▶│                        │",
        "   0.010   │                        │───── INVITE (SDP) ────▶│",
        "   0.020   │                        │◀── 200 OK (INVITE) ────│",
        "   0.030   │◀── 200 OK (INVITE) ────│                        │",
        "   0.040   │───────────────── SEND (empty) ─────────────────▶│",
        "   0.050   │◀─────────────────── 200 OK ─────────────────────│",
        "   1.000   │◀─── 407 Proxy Auth ────│                        │",
    ]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (response(401, "Unauthorized", "REGISTER", branch="1"),
         ["401 Unauthorized (REGISTER)", "401 Unauthorized", "401 Unautho…"]),
        (response(407, "Proxy Authentication Required", "INVITE", branch="1"),
         ["407 Proxy Authentication Required (INVITE)", "407 Proxy Auth (INVITE)",
          "407 Proxy Auth", "407 Pro…"]),
        (response(180, "Ringing", "INVITE", branch="1"),
         ["180 Ringing (INVITE)", "180 Ringing"]),
        (response(200, "OK", "REGISTER", branch="1"),
         ["200 OK (REGISTER)", "200 (REGISTER)", "200 OK"]),
        (b"REGISTER sip:s SIP/2.0\r\nAuthorization: Digest x\r\nExpires: 0\r\n\r\n",
         ["REGISTER (digest, remove)", "REGISTER (remove)", "REGISTER", "REGI…"]),
        (b"INVITE sip:b SIP/2.0\r\nProxy-Authorization: Digest x\r\n\r\n"
         b"a=path:msrp://h:1/s;tcp\r\n",
         ["INVITE (digest, SDP)", "INVITE (digest)", "INVITE"]),
        (b"MSRP t SEND\r\nContent-Type: application/im-iscomposing+xml\r\n"
         b"Byte-Range: 1-2/2\r\n\r\nxx\r\n-------t$\r\n",
         ["SEND application/im-iscomposing+xml", "SEND iscomposing"]),
    ],
    ids=["401", "407", "180", "200", "register", "invite", "send"],
)  # fmt: skip
def test_where_it_is_narrow_what_says_least_gives_way(data: bytes, shown: list[str]) -> None:
    (arrow,) = merge(sent(1.0, alex, server, data))
    for words in shown:
        assert fitting_label(arrow, cell_width(words)) == words
    resent = dataclasses.replace(arrow, retransmission=True)
    assert fitting_label(resent, cell_width(shown[1]) + 8) == f"{shown[1]} (again)"


def test_the_times_between() -> None:
    arrows = merge(session())[:2]
    gaps = [None, 0.0005]
    both = draw_ladder(arrows, width=70, gaps=gaps, numbers=[9, 10])
    assert [line.text[:24] for line in both[-3:]] == [
        "      seconds    since a",
        "    9   0.000           ",
        "   10   0.010  +0.5 ms  ",
    ]
    assert all(cell_width(line.text) <= 70 for line in both)
    assert both[-1].text.endswith("▶│")
    alone = draw_ladder(arrows, width=60, gaps=gaps, seconds=False)
    assert [line.text[:10] for line in alone[-3:]] == ["   since a", " " * 10, " +0.5 ms  "]


def test_the_time_since_the_one_before_is_never_negative() -> None:
    first, second, third = merge(session())[:3]
    late = dataclasses.replace(second, time=first.time - 1)
    assert times_between([first, late, third]) == [None, 0.0, third.time - late.time]
    assert times_between([]) == []


@pytest.mark.parametrize(
    ("status", "retransmission", "lost", "kind", "marks"),
    [
        (200, False, False, "sip", ""),
        (401, False, False, "sip", ""),
        (407, True, False, "again", " (again)"),
        (486, False, False, "failed", ""),
        (486, True, True, "again", " (again) (lost)"),
    ],
)
def test_what_is_marked(
    status: int, retransmission: bool, lost: bool, kind: str, marks: str
) -> None:
    (arrow,) = merge(sent(1.0, server, alex, response(status, "No", "INVITE", branch="9")))
    arrow = dataclasses.replace(arrow, retransmission=retransmission, lost=lost)
    assert (arrow.kind, arrow.marks) == (kind, marks)
    assert arrow.marked_label == arrow.label + marks


@pytest.mark.parametrize(
    ("gap", "shown"),
    [(0.0, "+0.0 ms"), (0.00996, "+10 ms"), (0.0124, "+12 ms"), (0.9994, "+999 ms"),
     (0.9996, "+1.0 s"), (9.96, "+10 s"), (99.4, "+99 s"), (100.0, "+2 min"), (7200, "+120 min")],
)  # fmt: skip
def test_a_time_between_has_two_or_three_digits(gap: float, shown: str) -> None:
    (line,) = draw_ladder(merge(session())[:1], gaps=[gap], seconds=False, head=False)
    assert line.text[:9].strip() == shown


def test_a_picture_for_terminals_without_unicode() -> None:
    assert _drawn(merge(session()), width=60, ascii_only=True).isascii()


def test_a_hostile_method_is_shown_and_not_obeyed() -> None:
    data = b"\x1b[2J\xc2\x9b31m sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n"
    picture = _drawn(merge(sent(1.0, alex, server, data)))
    assert "\x1b" not in picture
    assert "\x9b" not in picture
    assert "\\x1b[2J" in picture


@given(st.text(max_size=40), st.integers(20, 120))
def test_the_picture_fits(method: str, width: int) -> None:
    data = method.encode("utf-8", "replace") + b" sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n"
    entries = [*sent(1.0, alex, bob, data), *sent(2.0, alex, ("bob", ALEX), data)]
    lines = _drawn(merge(entries), width=width).splitlines()
    narrowest = 9 + 12 * 2
    assert all(cell_width(line) <= max(width, narrowest) for line in lines)


def test_a_server_without_a_trace_is_named_as_the_other_end_of_sip() -> None:
    entries = [entry for entry in session() if entry.node != "server"]
    arrows = merge(entries, server="opensips")
    ends = [(arrow.source, arrow.target) for arrow in arrows]
    assert ends == [
        ("alex", "opensips"),
        ("opensips", "bob"),
        ("bob", "opensips"),
        ("opensips", "alex"),
        ("alex", "bob"),
        ("bob", "alex"),
    ]
    # Nobody says that it did not arrive there.
    assert not any(arrow.lost for arrow in arrows)
    stranger = merge(entries[-2:-1], server="opensips")
    assert stranger[0].protocol == "msrp"
    assert "opensips" not in (stranger[0].source, stranger[0].target)
