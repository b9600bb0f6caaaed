"""Rates and bans by source, with a clock that the test moves."""

import pytest

from rcsops.server.guard import Guard, GuardLimits, Standing, source_of

HOST = "192.0.2.7"


def guard(**limits: object) -> Guard:
    given = {"rate": 10.0, "burst": 20, "failures": 3, **limits}
    return Guard(GuardLimits(**given))  # type: ignore[arg-type]


def take(made: Guard, count: int, now: float, host: str = HOST) -> list[Standing]:
    return [made.take(host, now) for _ in range(count)]


def test_a_burst_passes_and_then_the_rate() -> None:
    made = guard()
    assert take(made, 20, 0.0) == [Standing.GOOD] * 20
    assert made.take(HOST, 0.0) is Standing.OVER
    # One was over: 0.2 s pay for it and for the next.
    assert made.take(HOST, 0.21) is Standing.GOOD
    assert made.take(HOST, 0.22) is Standing.OVER
    assert take(made, 20, 100.0) == [Standing.GOOD] * 20


def test_who_keeps_the_rate_is_never_stopped() -> None:
    made = guard()
    assert all(made.take(HOST, number / 10) is Standing.GOOD for number in range(2000))


def test_a_flood_is_told_from_a_little_too_much_and_has_to_pause() -> None:
    made = guard()
    take(made, 39, 0.0)
    assert made.take(HOST, 0.0) is Standing.FLOODING
    assert take(made, 1000, 1.0)[-1] is Standing.FLOODING
    assert made.take(HOST, 3.2) is Standing.GOOD


def test_sources_do_not_share_a_bucket_but_an_ipv6_network_does() -> None:
    made = guard()
    take(made, 21, 0.0)
    assert made.take("192.0.2.8", 0.0) is Standing.GOOD
    take(made, 21, 0.0, "2001:db8::1")
    assert made.take("2001:db8::2", 0.0) is Standing.OVER
    assert made.take("2001:db8:0:1::2", 0.0) is Standing.GOOD


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("nonsense:", "nonsense:"),
    ],
)
def test_the_source_of_an_address(host: str, source: str) -> None:
    assert source_of(host) == source


def test_wrong_passwords_ban_and_the_ban_ends() -> None:
    made = guard(ban_seconds=60.0)
    assert [made.failed(HOST, 1.0) for _ in range(3)] == [False, False, True]
    assert made.take(HOST, 60.9) is Standing.BANNED
    (ban,) = made.bans(31.0)
    assert (ban.source, ban.reason, ban.seconds) == (HOST, "wrong passwords", 30.0)
    assert made.take(HOST, 61.0) is Standing.GOOD
    assert made.bans(61.0) == []


def test_slow_mistakes_and_those_before_a_right_password_do_not_count() -> None:
    made = guard(failure_seconds=10.0)
    assert not any(made.failed(HOST, number * 6.0) for number in range(20))
    made = guard()
    for _ in range(10):
        assert not made.failed(HOST, 0.0)
        assert not made.failed(HOST, 0.0)
        made.succeeded(HOST)


def test_a_guess_that_is_sent_again_counts_once() -> None:
    made = guard()
    assert not any(made.failed(HOST, number / 2, "same") for number in range(8))
    assert [made.failed(HOST, 5.0, guess) for guess in ("a", "b", "c")] == [False, True, False]


def test_a_ban_can_be_lifted() -> None:
    made = guard()
    for _ in range(3):
        made.failed("2001:db8::1", 0.0)
    assert made.take("2001:db8::2", 0.0) is Standing.BANNED
    assert made.lift("2001:db8::9")
    assert made.take("2001:db8::2", 0.0) is Standing.GOOD
    assert not made.lift("192.0.2.200")


def test_trusted_networks_and_limits_of_0_hold_nobody() -> None:
    for made, host in (
        (guard(trusted=("192.0.2.0/24",)), HOST),
        (guard(trusted=("2001:db8::/32",)), "2001:db8::1"),
        (guard(rate=0.0, failures=0), HOST),
    ):
        assert set(take(made, 1000, 0.0, host)) == {Standing.GOOD}
        assert not any(made.failed(host, 0.0) for _ in range(100))
        assert made.bans(0.0) == []


def test_the_memory_is_bounded_and_bans_outlive_a_flood_of_other_addresses() -> None:
    made = Guard(GuardLimits(rate=10.0, burst=20, failures=1), max_sources=100)
    made.failed(HOST, 0.0)
    for number in range(5000):
        made.take(f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(made) == 101
    assert made.take(HOST, 1.0) is Standing.BANNED
    for number in range(5000):
        made.failed(f"10.1.{number // 256}.{number % 256}", 0.0)
    assert len(made) <= 200
