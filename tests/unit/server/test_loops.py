"""Loop marks and the sharing out of Max-Breadth (RFC 5393)."""

import pytest

from rcsops.server.loops import MAX_BREADTH, LoopMarks, breadth_of, shares
from rcsops.server.response_context import Destination, ResponseContext
from rcsops.sip import Request
from tests.unit.sip.sim import World, from_peer


def request(**fields: str) -> Request:
    headers = {
        "From": "<sip:alex@rcs.example>;tag=a",
        "To": "<sip:bob@rcs.example>",
        "Call-ID": "one",
        "CSeq": "1 INVITE",
        **fields,
    }
    uri = headers.pop("uri", "sip:bob@rcs.example")
    return Request("INVITE", uri, list(headers.items()))


MARKS = LoopMarks(b"secret")


@pytest.mark.rfc("5393", "4.2.1")
@pytest.mark.parametrize(
    ("field", "value", "loops"),
    [
        ("uri", "sip:bob@elsewhere.example", False),
        ("Route", "<sip:p.example;lr>", False),
        ("Call-ID", "two", False),
        ("CSeq", "2 INVITE", False),
        ("From", "<sip:alex@rcs.example>;tag=b", False),
        ("To", "<sip:bob@rcs.example>;tag=b", False),
        # Neither who passed it on nor the method tells where it goes.
        ("CSeq", "1 ACK", True),
        ("Via", "SIP/2.0/UDP p.example;branch=z9hG4bK1", True),
        ("Max-Forwards", "12", True),
        ("Subject", "again", True),
    ],
)
def test_what_makes_a_loop_and_what_a_spiral(field: str, value: str, loops: bool) -> None:
    assert (MARKS.make(request(**{field: value})) == MARKS.make(request())) is loops


@pytest.mark.rfc("5393", "4.2.2")
def test_a_mark_is_found_in_any_via_and_nobody_elses_counts() -> None:
    mark = MARKS.make(request())
    again = request()
    for branch in (f"z9hG4bKours{mark.upper()}", "z9hG4bKother", f"z9hG4bKx{mark}"):
        again.prepend("Via", f"SIP/2.0/UDP p.example;branch={branch}")
    assert MARKS.found(mark, again.vias)
    assert not LoopMarks(b"other").found(LoopMarks(b"other").make(request()), again.vias)


@pytest.mark.rfc("5393", "4.2.1")
def test_the_branch_of_each_transaction_ends_in_the_mark_and_begins_anew() -> None:
    world = World()
    mark = MARKS.make(request())
    branches = set()
    for _ in range(2):
        sent = world.layer.send_request(request(), world.target, 0.0, branch_suffix=mark)
        branches.add(sent.request.top_via.branch)
        assert MARKS.found(mark, sent.request.vias)
    assert len(branches) == 2


@pytest.mark.rfc("5393", "5.3.3")
@pytest.mark.parametrize(
    ("given", "breadth"),
    [("", 60), ("0", 0), ("1", 1), ("60", 60), ("61", 60), ("9" * 5000, 60), ("-1", 60), ("x", 60)],
)
def test_max_breadth_as_given(given: str, breadth: int) -> None:
    assert breadth_of(request(**{"Max-Breadth": given}) if given else request()) == breadth


@pytest.mark.rfc("5393", "5.3.3")
@pytest.mark.parametrize("breadth", [1, 2, 7, 60])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_shares_are_the_whole(breadth: int, count: int) -> None:
    if count <= breadth:
        parts = shares(breadth, count)
        assert sum(parts) == breadth
        assert min(parts) >= 1
        assert max(parts) - min(parts) <= 1


def context(breadth: str, *groups: int) -> ResponseContext:
    world = World()
    server = world.layer.accept(from_peer(), world.flow, 0.0)
    made = [[Destination(f"sip:{g}-{n}@x") for n in range(size)] for g, size in enumerate(groups)]
    return ResponseContext(server, request(**{"Max-Breadth": breadth}), made)


@pytest.mark.rfc("5393", "5.3.3")
def test_no_more_branches_at_once_than_the_breadth_the_others_after_them() -> None:
    made = context("2", 3, 1)
    rounds = []
    while branches := made.next_branches():
        rounds.append([(b.destination.uri[4:7], b.breadth) for b in branches])
        for branch in branches:
            branch.finish()
    assert rounds == [[("0-0", 1), ("0-1", 1)], [("0-2", 2)], [("1-0", 2)]]


@pytest.mark.rfc("3261", "16.5")
def test_a_target_is_tried_once_and_their_number_is_bounded() -> None:
    made = context(str(MAX_BREADTH), 1)
    new = [[Destination("sip:0-0@x"), Destination("sip:new@x")], [Destination("sip:more@x")]]
    assert made.try_also(new, 2) == {"sip:new@x"}
    assert made.try_also(new, 3) == {"sip:more@x"}
    assert made.try_also(new, 9) == set()
