"""Which response is the best one, and who is tried when (RFC 3261 §16.6, §16.7, RFC 5626 §5.3)."""

import pytest

from rcsops.server.location import Binding
from rcsops.server.response_context import best_response, group_by_priority
from rcsops.sip import Response


@pytest.mark.rfc("3261", "16.7")
@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        ([404], 404),
        ([486, 404], 486),
        ([404, 486], 404),
        ([500, 404], 404),
        ([503, 500], 500),
        ([503], 503),
        ([302, 404], 302),
        ([404, 401], 401),
        ([486, 407, 500], 407),
        ([408, 486], 486),
        ([430, 480], 480),
        ([404, 603, 302], 603),
    ],
)
def test_the_best_response(statuses: list[int], best: int) -> None:
    chosen = best_response([Response(status) for status in statuses])
    assert chosen is not None
    assert chosen.status == best


def test_no_response_is_none() -> None:
    assert best_response([]) is None


@pytest.mark.rfc("3261", "16.7")
def test_the_challenges_of_all_branches_go_up_together() -> None:
    one = Response(407, headers=[("Proxy-Authenticate", 'Digest realm="a", nonce="1"')])
    two = Response(401, headers=[("WWW-Authenticate", 'Digest realm="b", nonce="2"')])
    three = Response(407, headers=[("Proxy-Authenticate", 'Digest realm="c", nonce="3"')])
    best = best_response([one, two, three])
    assert best is not None
    realms = [each.realm for each in (*best.proxy_challenges, *best.www_challenges)]
    assert sorted(realms) == ["a", "b", "c"]


def binding(number: int, q: float = -1.0, instance: str = "", modified: float = 0.0) -> Binding:
    made = Binding(
        "bob@rcs.example",
        f"sip:bob@192.0.2.{number}",
        f"<sip:bob@192.0.2.{number}>",
        expires=100.0,
        call_id="x",
        cseq=1,
        q=q,
        instance=instance,
        reg_id=number if instance else 0,
        modified=modified,
    )
    made.contact_id = number
    return made


@pytest.mark.rfc("3261", "16.6")
def test_groups_go_by_q_and_none_means_one() -> None:
    groups = group_by_priority([binding(1, 0.2), binding(2), binding(3, 1.0), binding(4, 0.2)])
    hosts = [[each.uri[-1] for each in group] for group in groups]
    assert hosts == [["2", "3"], ["1", "4"]]


@pytest.mark.rfc("5626", "5.3")
def test_flows_of_one_device_are_tried_one_after_the_other_the_newest_first() -> None:
    groups = group_by_priority(
        [binding(1, instance="<urn:a>", modified=1), binding(2, instance="<urn:a>", modified=2)]
    )
    ((first,),) = groups
    assert first.uri.endswith("2")
    assert [other.uri[-1] for other in first.others] == ["1"]
