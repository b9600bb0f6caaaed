"""Session timers without a clock (RFC 4028)."""

import pytest

from rcsops.errors import RemoteProtocolError, SipParseError
from rcsops.sip import RefreshDue, Request, Response, SessionExpired, SessionExpires, SessionTimer
from tests.unit.sip.sim import make_request


def invite(**headers: str) -> Request:
    request = make_request()
    for name, value in headers.items():
        request.add(name.replace("_", "-"), value)
    return request


def answered(request: Request, **headers: str) -> Response:
    response = Response.to_request(request, 200, to_tag="b")
    for name, value in headers.items():
        response.add(name.replace("_", "-"), value)
    return response


def agree(timer: SessionTimer, value: str, now: float = 0.0) -> None:
    timer.receive_2xx(answered(invite(), Session_Expires=value), now)


@pytest.mark.rfc("4028", "4")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1800", SessionExpires(1800)),
        (
            "90 ; refresher=UAS",
            SessionExpires(90, SessionExpires.parse("1;refresher=uas").refresher),
        ),
        ("90;x=1;refresher=uac", SessionExpires.parse("90;refresher=uac")),
        ("9999999999", SessionExpires(1 << 31)),
    ],
)
def test_the_header_is_read(text: str, value: SessionExpires) -> None:
    assert SessionExpires.parse(text) == value


@pytest.mark.rfc("4028", "4")
@pytest.mark.parametrize("text", ["", "soon", "-1", "1e3", "90;refresher=me", "99999999999"])
def test_a_header_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SipParseError):
        SessionExpires.parse(text)


@pytest.mark.rfc("4028", "7.2", "7.4", "10")
def test_who_refreshes_does_so_at_half_time_and_asks_that_the_roles_stay() -> None:
    timer = SessionTimer(600)
    assert ("Session-Expires", "600") in timer.offer()
    agree(timer, "400;refresher=uac")
    assert timer.next_timer() == 200
    timer.handle_timer(199.9)
    assert timer.next_event() is None
    timer.handle_timer(200)
    assert timer.next_event() == RefreshDue()
    assert ("Session-Expires", "400;refresher=uac") in timer.offer()
    agree(timer, "400;refresher=uac", now=201)
    assert timer.next_timer() == 401


@pytest.mark.rfc("4028", "10")
def test_the_other_side_ends_the_session_a_little_before_its_time() -> None:
    timer = SessionTimer(600)
    agree(timer, "600;refresher=uas")
    assert timer.next_timer() == 600 - 32
    timer.handle_timer(568)
    assert timer.next_event() == SessionExpired()
    assert timer.next_timer() is None
    short = SessionTimer(90)
    agree(short, "90;refresher=uas")
    assert short.next_timer() == 60


@pytest.mark.rfc("4028", "10")
def test_a_refresh_that_failed_is_tried_again_and_then_the_session_ends() -> None:
    timer = SessionTimer(600)
    agree(timer, "600;refresher=uac")
    timer.handle_timer(300)
    assert timer.next_event() == RefreshDue()
    timer.refresh_failed(310)
    assert timer.next_timer() == 310 + 145
    timer.handle_timer(455)
    assert timer.next_event() == RefreshDue()
    timer.handle_timer(600)
    assert timer.next_event() == SessionExpired()


@pytest.mark.rfc("4028", "7.2")
def test_without_the_header_in_the_answer_there_is_no_timer() -> None:
    timer = SessionTimer(600)
    agree(timer, "600;refresher=uac")
    timer.receive_2xx(answered(invite()), 10)
    assert (timer.agreed, timer.next_timer()) == (None, None)
    # What cannot be read is no agreement either.
    agree(timer, "now")
    assert timer.next_timer() is None


@pytest.mark.rfc("4028", "7.2")
def test_a_hostile_answer_does_not_make_us_flood() -> None:
    timer = SessionTimer(600)
    agree(timer, "0;refresher=uac")
    assert timer.next_timer() == 45


@pytest.mark.rfc("4028", "5", "7.3")
def test_a_422_is_followed_once_it_asks_for_more() -> None:
    timer = SessionTimer(600)
    small = Response(422, "Session Interval Too Small")
    small.add("Min-SE", "900")
    assert timer.receive_422(small)
    assert ("Session-Expires", "900") in timer.offer()
    assert ("Min-SE", "900") in timer.offer()
    assert not timer.receive_422(small)
    for value in ("soon", "90", "4000000000"):
        wrong = Response(422)
        wrong.add("Min-SE", value)
        assert not SessionTimer(600).receive_422(wrong)
    assert not SessionTimer(600).receive_422(Response(422))


@pytest.mark.rfc("3261", "8.2.4")
@pytest.mark.rfc("4028", "5", "9")
@pytest.mark.parametrize(
    ("headers", "answer", "mine"),
    [
        # RFC 4028 §9, table 2.
        ({"Supported": "timer", "Session-Expires": "300"}, "300;refresher=uac", False),
        (
            {"Supported": "timer", "Session-Expires": "300;refresher=uac"},
            "300;refresher=uac",
            False,
        ),
        ({"Supported": "timer", "Session-Expires": "300;refresher=uas"}, "300;refresher=uas", True),
        # A proxy put it in for a caller that knows no timers.
        ({"Session-Expires": "300"}, "300;refresher=uas", True),
        ({"Supported": "timer"}, "1200;refresher=uac", False),
        # Longer than we want: we may lower it, but not below the caller's Min-SE.
        ({"Supported": "timer", "Session-Expires": "3600"}, "1200;refresher=uac", False),
        (
            {"Supported": "timer", "Session-Expires": "3600", "Min-SE": "2000"},
            "2000;refresher=uac",
            False,
        ),
        ({}, None, False),
    ],
)
def test_our_answer_to_an_invite(headers: dict[str, str], answer: str | None, mine: bool) -> None:
    timer = SessionTimer(1200)
    request = invite(**{name.replace("-", "_"): value for name, value in headers.items()})
    timer.check(request)
    given = dict(timer.answer(request, 0.0))
    assert given.get("Session-Expires") == answer
    assert timer.refreshing is mine
    assert given.get("Require") == ("timer" if answer and answer.endswith("uac") else None)
    assert (timer.next_timer() is None) == (answer is None)


@pytest.mark.rfc("4028", "5", "6", "9")
def test_too_short_an_interval_is_refused_from_who_can_mend_it() -> None:
    timer = SessionTimer(1200)
    with pytest.raises(RemoteProtocolError) as caught:
        timer.check(invite(Supported="timer", Session_Expires="60"))
    assert caught.value.status == 422
    # Who does not know timers would not understand a 422.
    plain = invite(Session_Expires="60")
    timer.check(plain)
    assert ("Session-Expires", "90;refresher=uas") in timer.answer(plain, 0.0)


@pytest.mark.rfc("4028", "7.1")
def test_no_timer_of_our_own_is_asked_for_with_0() -> None:
    timer = SessionTimer(0)
    assert timer.offer() == [("Supported", "timer")]
    assert timer.answer(invite(Supported="timer"), 0.0) == []
    asked = invite(Supported="timer", Session_Expires="300")
    assert ("Session-Expires", "300;refresher=uac") in timer.answer(asked, 0.0)
