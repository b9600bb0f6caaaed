"""Counting: what fails by cause, what is lost, and what the figures say of the generator."""

import pytest

from rcsops.errors import DeliveryError, InviteError, UsageError
from rcsops.loadgen import Account, LoadPlan, LoadReport, Second, Statistics
from rcsops.loadgen.ledger import Ledger
from rcsops.loadgen.statistics import cause_of


def plan(**changes: object) -> LoadPlan:
    return LoadPlan(**({"server": "127.0.0.1:5060", "domain": "rcs.example"} | changes))  # type: ignore[arg-type]


def second(busy: float) -> Second:
    return Second("running", 1.0, {}, {}, {}, {}, {}, 0, busy, 0)


def test_alike_failures_are_one_cause() -> None:
    assert cause_of(InviteError("bob is busy", status=486)) == "Invite 486"
    assert cause_of(InviteError("eve is busy", status=486)) == "Invite 486"
    assert cause_of(TimeoutError()) == "no answer in time"
    assert cause_of(DeliveryError("not delivered within 30 s")).startswith("DeliveryError: not")


def test_causes_are_bounded() -> None:
    operation = Statistics()["invite"]
    for number in range(1000):
        operation.fail(f"cause {number}")
    assert operation.failures == 1000
    assert len(operation.failed) <= 51


def test_a_message_that_never_came_is_lost() -> None:
    statistics = Statistics()
    ledger = Ledger(statistics)
    for name in ("one", "two", "three"):
        ledger.sent()
        ledger.delivered(name)
    for name in ("one", "three", "three"):
        ledger.arrived(name)
    ledger.settle()
    assert (statistics.sent, statistics.received) == (3, 2)
    assert (statistics.lost, statistics.twice) == (1, 1)
    assert not LoadReport(plan(), statistics).accounted


def test_workers_add_up_through_json() -> None:
    one, two = Statistics(), Statistics()
    for each, cause in ((one, "486"), (two, "486"), (two, "503")):
        each["invite"].started += 2
        each["invite"].succeed(0.01)
        each["invite"].fail(cause)
    two.lost, two.no_agent, two.no_socket = 3, 4, 5
    one.merge(Statistics.from_json(two.to_json()))
    assert one["invite"].started == 6
    assert one["invite"].failed == {"486": 2, "503": 1}
    assert one["invite"].latency.count == 3
    assert (one.lost, one.no_agent, one.no_socket) == (3, 4, 5)


def test_the_generator_says_when_it_is_the_limit() -> None:
    quiet = LoadReport(plan(), Statistics(), [second(0.4)] * 10)
    assert quiet.limits() == []
    late = Statistics()
    late.lateness.add(0.2)
    assert (
        "200 ms" in LoadReport(plan(), late).limits()[0]
        or "after it was due" in (LoadReport(plan(), late).limits()[0])
    )
    busy = LoadReport(plan(), Statistics(), [second(0.97)] * 5 + [second(0.4)] * 5)
    assert "5 of 10 seconds" in busy.limits()[0]
    taken = Statistics()
    taken.no_agent = 7
    assert "7 things" in LoadReport(plan(), taken).limits()[0]
    crowded = Statistics()
    crowded.no_socket = 9
    assert "9 MSRP connections" in LoadReport(plan(), crowded).limits()[0]


def test_a_share_is_what_its_worker_reads() -> None:
    accounts = [Account(f"user{number}", {"MD5": "0" * 32}) for number in range(5)]
    whole = plan(processes=2, agents=5)
    shares = [LoadPlan.from_share(whole.share(number, accounts)) for number in range(2)]
    assert [each[0] for each in shares] == [whole, whole]
    assert sorted(a.username for each in shares for a in each[2]) == [
        f"user{number}" for number in range(5)
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scenario": "dance"},
        {"agents": 1},
        {"agents": 3, "processes": 2},
        {"rate": 0.0},
        {"duration": -1.0},
        {"think": -0.1},
    ],
)
def test_a_plan_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        plan(**wrong)
