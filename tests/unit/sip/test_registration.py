"""The registration machine (RFC 3261 §10.2, RFC 5626 §4.5), hours in no time."""

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.sip import (
    Credential,
    DigestClient,
    DigestServer,
    NameAddr,
    Registered,
    Registration,
    RegistrationFailed,
    RegistrationState,
    Request,
    Response,
    Unregistered,
    Uri,
)
from rcsops.sip.digest_server import Verdict
from rcsops.sip.registrar_answer import refresh_after
from rcsops.sip.registration import RegistrationEvent
from rcsops.tokens import Tokens

CONTACT = "<sip:alice@192.0.2.10:5060;transport=tcp>"
OTHER = "<sip:alice@198.51.100.9>;expires=7200"
INSTANCE = "urn:uuid:3f1b6c52-8d0e-4c0b-9a57-1c2d3e4f5a6b"


class Agent:
    """A registration under a clock, and the requests it wants sent."""

    def __init__(self, **options: object) -> None:
        self.now = 1000.0
        self.machine = Registration(
            Uri.parse("sip:alice@example.org"),
            Uri.parse("sip:example.org"),
            NameAddr.parse(CONTACT),
            tokens=Tokens.deterministic(4),
            **options,  # type: ignore[arg-type]
        )
        self.requests: list[tuple[float, Request]] = []

    def start(self) -> Request:
        self.machine.start(self.now)
        return self.take()

    def take(self) -> Request:
        request = self.machine.next_request()
        assert request is not None
        assert self.machine.next_request() is None
        self.requests.append((self.now, request))
        return request

    def answer(
        self, status: int, *headers: tuple[str, str], contacts: tuple[str, ...] = ()
    ) -> list[RegistrationEvent]:
        """The registrar's answer to the newest request."""
        response = Response.to_request(self.requests[-1][1], status, to_tag="r", headers=headers)
        for contact in contacts:
            response.add("Contact", contact)
        self.machine.receive_response(response, self.now)
        return self.events()

    def accept(self, expires: int = 3600) -> list[RegistrationEvent]:
        return self.answer(200, contacts=(OTHER, f"{CONTACT};expires={expires}"))

    def events(self) -> list[RegistrationEvent]:
        events = []
        while (event := self.machine.next_event()) is not None:
            events.append(event)
        return events

    def wait(self) -> float:
        """Let the clock jump to the machine's timer; seconds that passed."""
        due = self.machine.next_timer()
        assert due is not None
        passed = due - self.now
        self.machine.handle_timer(due - 0.001)
        assert self.machine.next_request() is None
        self.now = due
        self.machine.handle_timer(due)
        return passed


def contact_of(request: Request) -> NameAddr:
    (contact,) = request.contacts
    return contact


def only(events: list[RegistrationEvent]) -> RegistrationEvent:
    (event,) = events
    return event


@pytest.mark.rfc("3261", "10.2")
def test_the_request() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=1, headers=[("User-Agent", "rcsops")])
    request = agent.start()
    assert (request.method, request.uri) == ("REGISTER", "sip:example.org")
    assert request.to.uri_text == request.from_.uri_text == "sip:alice@example.org"
    assert request.from_tag
    assert request.to_tag is None
    assert request.cseq == (1, "REGISTER")
    contact = contact_of(request)
    assert contact.uri_text == "sip:alice@192.0.2.10:5060;transport=tcp"
    assert contact.param("expires") == "3600"
    assert contact.param("reg-id") == "1"
    assert contact.param("+sip.instance") == f"<{INSTANCE}>"
    assert request.option_tags("Supported") == ("path", "gruu", "outbound")
    assert request.get("User-Agent") == "rcsops"
    assert not request.has("Via")
    assert agent.machine.state is RegistrationState.REGISTERING


@pytest.mark.rfc("3261", "10.2.4")
def test_the_granted_expiry_is_that_of_our_own_binding() -> None:
    agent = Agent()
    agent.start()
    event = only(agent.accept(1800))
    assert isinstance(event, Registered)
    assert event.expires == 1800
    assert len(event.bindings) == 2
    assert agent.machine.state is RegistrationState.REGISTERED
    assert agent.machine.is_registered(agent.now + 1799)
    assert not agent.machine.is_registered(agent.now + 1800)


@pytest.mark.rfc("3261", "10.2.4")
@pytest.mark.parametrize(
    ("granted", "after"), [(60, 30.0), (1200, 600.0), (1201, 601.0), (3600, 3000.0)]
)
def test_refreshing(granted: int, after: float) -> None:
    agent = Agent()
    first = agent.start()
    agent.accept(granted)
    assert refresh_after(granted) == after
    assert agent.wait() == after
    second = agent.take()
    assert agent.machine.state is RegistrationState.REFRESHING
    assert second.call_id == first.call_id
    assert second.from_tag == first.from_tag
    assert second.cseq == (2, "REGISTER")
    assert isinstance(only(agent.accept(granted)), Registered)


@pytest.mark.rfc("3261", "10.2.4")
def test_a_day_of_refreshes() -> None:
    agent = Agent()
    agent.start()
    begin = agent.now
    while agent.now < begin + 86400:
        assert isinstance(only(agent.accept(3600)), Registered)
        assert agent.wait() == 3000.0
        agent.take()
    numbers = [request.cseq.number for _, request in agent.requests]
    assert numbers == list(range(1, 31))


@pytest.mark.rfc("3261", "10.2.4")
@pytest.mark.parametrize(
    ("contact", "headers", "expires"),
    [
        ("<SIP:alice@192.0.2.10:5060;transport=TCP>;expires=77", [], 77),
        (CONTACT, [("Expires", "88")], 88),
        (CONTACT, [], 3600),
        (f"{CONTACT};expires=nonsense", [("Expires", "99")], 99),
    ],
)
def test_where_the_granted_expiry_is_found(
    contact: str, headers: list[tuple[str, str]], expires: int
) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(200, *headers, contacts=(OTHER, contact)))
    assert isinstance(event, Registered)
    assert event.expires == expires


@pytest.mark.rfc("5626", "4.2")
def test_our_binding_is_found_by_instance_and_reg_id() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=2)
    agent.start()
    moved = "<sip:alice@203.0.113.7:40112>"
    event = only(
        agent.answer(
            200,
            contacts=(
                f'{moved};expires=10;reg-id=1;+sip.instance="<{INSTANCE}>"',
                f'{moved};expires=20;reg-id=2;+sip.instance="<urn:uuid:other>"',
                f'{moved};expires=30;reg-id=2;+sip.instance="<{INSTANCE.upper()}>"',
            ),
        )
    )
    assert isinstance(event, Registered)
    assert event.expires == 30


@pytest.mark.rfc("3261", "10.2.4")
def test_a_registrar_without_outbound_is_matched_by_uri() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=2)
    agent.start()
    assert isinstance(only(agent.accept(300)), Registered)


@pytest.mark.parametrize(
    "contacts", [(), (OTHER,), (f"{CONTACT};expires=0",), ("<sip:::>;expires=60",)]
)
def test_an_absent_binding_is_a_failure(contacts: tuple[str, ...]) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(200, contacts=contacts))
    assert isinstance(event, RegistrationFailed)
    assert event.status == 200
    assert event.retry_in is not None
    assert agent.machine.state is RegistrationState.WAITING


def test_a_broken_answer_is_a_failure() -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(200, contacts=("<<nonsense",)))
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is not None


def test_routes_are_kept_and_replaced_in_full() -> None:
    agent = Agent()
    agent.start()
    event = only(
        agent.answer(
            200,
            ("Service-Route", "<sip:s1.example.org;lr>, <sip:s2.example.org;lr>"),
            ("Path", "<sip:edge.example.org;lr;ob>"),
            ("Flow-Timer", "120"),
            contacts=(f"{CONTACT};expires=60",),
        )
    )
    assert isinstance(event, Registered)
    assert [route.uri.host for route in event.service_route] == ["s1.example.org", "s2.example.org"]
    assert event.service_route == agent.machine.service_route
    assert [str(path) for path in event.paths] == ["<sip:edge.example.org;lr;ob>"]
    assert event.paths == agent.machine.paths
    assert event.flow_timer == 120
    agent.wait()
    agent.take()
    agent.accept(60)
    assert agent.machine.service_route == agent.machine.paths == ()


@pytest.mark.parametrize("text", ["", "soon", "-1", "1" * 30, "²"])
def test_a_flow_timer_that_is_no_number_is_ignored(text: str) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(200, ("Flow-Timer", text), contacts=(f"{CONTACT};expires=60",)))
    assert isinstance(event, Registered)
    assert event.flow_timer is None


# --- digest --------------------------------------------------------------------------------------


class Realm:
    """A registrar's side of digest, with its own clock."""

    def __init__(self, password: str = "wonder-land") -> None:
        tokens = Tokens.deterministic(9)
        self.server = DigestServer("example.org", b"s" * 32, tokens)
        self.ha1 = Credential.from_password("alice", "example.org", password).ha1

    def check(self, request: Request, now: float) -> Verdict | None:
        for credentials in request.authorizations:
            return self.server.verify(credentials, "REGISTER", b"", self.ha1, now)
        return None

    def challenge(self, agent: Agent, stale: bool = False) -> list[RegistrationEvent]:
        headers = [
            ("WWW-Authenticate", value) for value in self.server.challenges(agent.now, stale)
        ]
        return agent.answer(401, *headers)


def agent_with(password: str) -> Agent:
    credential = Credential.from_password("alice", "example.org", password)
    return Agent(digest=DigestClient([credential], Tokens.deterministic(5)))


@pytest.mark.rfc("3261", "22.2")
def test_a_challenge_is_answered() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    assert realm.check(agent.start(), agent.now) is None
    assert realm.challenge(agent) == []
    request = agent.take()
    assert request.cseq == (2, "REGISTER")
    assert request.to_tag is None
    assert realm.check(request, agent.now) is Verdict.OK
    assert isinstance(only(agent.accept(60)), Registered)
    # The refresh saves the round trip.
    agent.wait()
    refresh = agent.take()
    assert refresh.cseq == (3, "REGISTER")
    assert realm.check(refresh, agent.now) is Verdict.OK


@pytest.mark.rfc("3261", "22.2")
def test_a_nonce_that_got_stale_is_replaced_at_once() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    agent.start()
    realm.challenge(agent)
    agent.take()
    agent.accept(3600)
    agent.wait()
    assert realm.check(agent.take(), agent.now) is Verdict.STALE
    assert realm.challenge(agent, stale=True) == []
    assert realm.check(agent.take(), agent.now) is Verdict.OK
    assert isinstance(only(agent.accept(3600)), Registered)


@pytest.mark.rfc("3261", "22.1")
def test_a_wrong_password_is_final() -> None:
    realm, agent = Realm(), agent_with("looking-glass")
    agent.start()
    realm.challenge(agent)
    assert realm.check(agent.take(), agent.now) is Verdict.WRONG
    event = only(realm.challenge(agent))
    assert event == RegistrationFailed(401, "Unauthorized", None)
    assert agent.machine.state is RegistrationState.REFUSED
    assert agent.machine.next_timer() is None
    assert agent.machine.next_request() is None


def test_challenges_of_other_schemes_are_passed_over() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    agent.start()
    (value, *_) = realm.server.challenges(agent.now)
    headers = [("WWW-Authenticate", each) for each in ("NTLM", 'Basic realm="x"', "=,=", value)]
    assert agent.answer(401, *headers) == []
    assert realm.check(agent.take(), agent.now) is Verdict.OK


def test_without_credentials_a_challenge_is_final() -> None:
    agent = Agent()
    agent.start()
    assert Realm().challenge(agent) == [RegistrationFailed(401, "Unauthorized", None)]


def test_nonces_that_are_always_stale_lead_to_a_wait_and_not_to_a_loop() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    agent.start()
    for _ in range(2):
        assert realm.challenge(agent, stale=True) == []
        agent.take()
    event = only(realm.challenge(agent, stale=True))
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is not None
    assert len(agent.requests) == 3


def test_a_restarted_registrar_with_new_nonces_gets_us_back() -> None:
    agent = agent_with("wonder-land")
    agent.start()
    Realm().challenge(agent)
    agent.take()
    agent.accept(60)
    agent.wait()
    agent.take()
    reborn = Realm()
    reborn.server = DigestServer("example.org", b"t" * 32, Tokens.deterministic(10))
    assert reborn.challenge(agent) == []
    assert reborn.check(agent.take(), agent.now) is Verdict.OK
    assert isinstance(only(agent.accept(60)), Registered)


def test_a_forged_rspauth_is_a_failure() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    agent.start()
    realm.challenge(agent)
    credentials = agent.take().authorizations[0]
    info = (
        f'rspauth="{"0" * 64}", cnonce="{credentials.cnonce}", '
        f"nc={credentials.nc}, qop={credentials.qop}"
    )
    event = only(
        agent.answer(200, ("Authentication-Info", info), contacts=(f"{CONTACT};expires=60",))
    )
    assert isinstance(event, RegistrationFailed)
    assert not agent.machine.is_registered(agent.now)


# --- what the registrar asks for -----------------------------------------------------------------


@pytest.mark.rfc("3261", "10.2.8")
def test_423_once() -> None:
    agent = Agent(expires=60)
    agent.start()
    assert agent.answer(423, ("Min-Expires", "600")) == []
    request = agent.take()
    assert contact_of(request).param("expires") == "600"
    assert request.cseq.number == 2
    event = only(agent.answer(423, ("Min-Expires", "900")))
    assert event == RegistrationFailed(423, "Interval Too Brief", None)


@pytest.mark.rfc("3261", "10.2.8")
@pytest.mark.parametrize("headers", [(), (("Min-Expires", "60"),), (("Min-Expires", "x"),)])
def test_423_without_a_longer_interval_is_no_reason_to_ask_again(
    headers: tuple[tuple[str, str], ...],
) -> None:
    agent = Agent(expires=60)
    agent.start()
    event = only(agent.answer(423, *headers))
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is None


def test_the_longer_interval_is_kept_for_the_next_time() -> None:
    agent = Agent(expires=60)
    agent.start()
    agent.answer(423, ("Min-Expires", "600"))
    agent.take()
    agent.accept(600)
    agent.wait()
    assert contact_of(agent.take()).param("expires") == "600"


@pytest.mark.rfc("3261", "8.1.3.4")
def test_one_redirection() -> None:
    agent = Agent()
    agent.start()
    assert agent.answer(302, contacts=("<sip:other.example.org;transport=tcp?X=y>",)) == []
    assert agent.take().uri == "sip:other.example.org;transport=tcp"
    event = only(agent.answer(301, contacts=("<sip:third.example.org>",)))
    assert event == RegistrationFailed(301, "Moved Permanently", None)


@pytest.mark.parametrize("contacts", [(), ("<tel:+1555>",)])
def test_a_redirection_to_nowhere(contacts: tuple[str, ...]) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(302, contacts=contacts))
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is None


@pytest.mark.rfc("3261", "8.1.3.5")
def test_420_drops_the_extension() -> None:
    agent = Agent()
    agent.start()
    assert agent.answer(420, ("Unsupported", "Outbound")) == []
    assert agent.take().option_tags("Supported") == ("path", "gruu")
    assert isinstance(only(agent.answer(420, ("Unsupported", "gruu"))), RegistrationFailed)


@pytest.mark.rfc("5626", "4.2")
def test_439_drops_the_reg_id() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=1)
    agent.start()
    assert agent.answer(439) == []
    contact = contact_of(agent.take())
    assert contact.param("reg-id") is None
    assert contact.param("+sip.instance") == f"<{INSTANCE}>"
    assert isinstance(only(agent.accept()), Registered)


@pytest.mark.rfc("3261", "8.1.3.5")
@pytest.mark.parametrize("status", [400, 403, 404, 405, 416, 600, 603])
def test_refusals_are_final_until_the_caller_starts_again(status: int) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(status))
    assert isinstance(event, RegistrationFailed)
    assert (event.status, event.retry_in) == (status, None)
    assert agent.machine.state is RegistrationState.REFUSED
    assert agent.machine.next_timer() is None
    agent.start()
    assert isinstance(only(agent.accept()), Registered)


# --- a server that is away -----------------------------------------------------------------------


@pytest.mark.rfc("5626", "4.5")
def test_a_server_that_is_away_and_comes_back() -> None:
    agent = Agent()
    agent.start()
    agent.accept(3600)
    agent.wait()
    waits = []
    for _ in range(9):
        agent.take()
        agent.now += 32.0
        agent.machine.request_failed("timed out", agent.now)
        event = only(agent.events())
        assert isinstance(event, RegistrationFailed)
        assert (event.status, event.reason) == (0, "timed out")
        assert event.retry_in is not None
        waits.append(event.retry_in)
        assert agent.wait() == pytest.approx(event.retry_in)
    # RFC 5626 §4.5: 30 s doubled for each failure, at most 1800 s; of that 50 to 100 %.
    for number, wait in enumerate(waits, start=1):
        longest = min(1800.0, 30.0 * 2**number)
        assert longest / 2 <= wait <= longest
    assert len({round(wait / min(1800.0, 30.0 * 2**n), 4) for n, wait in enumerate(waits, 1)}) > 5
    agent.take()
    assert isinstance(only(agent.accept(60)), Registered)
    # After a success the waits begin anew.
    agent.wait()
    agent.take()
    agent.machine.request_failed("refused", agent.now)
    event = only(agent.events())
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is not None
    assert event.retry_in <= 60.0


@pytest.mark.parametrize("status", [408, 480, 500, 503, 504, 430])
def test_a_server_in_trouble_is_asked_again(status: int) -> None:
    agent = Agent(base_time=1.0, max_time=4.0)
    agent.start()
    for longest in (2.0, 4.0, 4.0):
        event = only(agent.answer(status))
        assert isinstance(event, RegistrationFailed)
        assert event.status == status
        assert event.retry_in is not None
        assert longest / 2 <= event.retry_in <= longest
        assert agent.machine.state is RegistrationState.WAITING
        agent.wait()
        agent.take()


@pytest.mark.parametrize(
    ("value", "wait"),
    [("7", 7.0), ("0", 1.0), ("99999999", 86400.0), ("18 (lunch);duration=9", 18.0)],
)
def test_retry_after_is_obeyed(value: str, wait: float) -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(503, ("Retry-After", value)))
    assert event == RegistrationFailed(503, "Service Unavailable", wait)
    assert agent.wait() == wait


def test_a_retry_after_that_is_no_number_is_ignored() -> None:
    agent = Agent()
    agent.start()
    event = only(agent.answer(503, ("Retry-After", "soon")))
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is not None
    assert 30.0 <= event.retry_in <= 60.0


def test_the_binding_is_remembered_while_the_server_is_away() -> None:
    agent = Agent()
    agent.start()
    agent.accept(3600)
    agent.wait()
    agent.take()
    agent.machine.request_failed("timed out", agent.now)
    assert agent.machine.is_registered(agent.now)
    assert not agent.machine.is_registered(agent.now + 601)


def test_start_cuts_a_wait_short() -> None:
    agent = Agent()
    agent.start()
    agent.answer(503)
    agent.now += 1.0
    agent.start()
    assert isinstance(only(agent.accept()), Registered)


@pytest.mark.rfc("3261", "10.2")
def test_only_one_request_is_outstanding() -> None:
    agent = Agent()
    agent.start()
    agent.machine.start(agent.now)
    agent.machine.handle_timer(agent.now + 1e6)
    assert agent.machine.next_request() is None
    assert agent.answer(100) == []
    assert agent.machine.state is RegistrationState.REGISTERING
    agent.accept()
    # A second answer, or a failure reported late, belongs to nothing.
    assert agent.accept() == []
    agent.machine.request_failed("late", agent.now)
    assert agent.events() == []
    assert agent.machine.state is RegistrationState.REGISTERED


# --- the end -----------------------------------------------------------------------------------


@pytest.mark.rfc("3261", "10.2.2")
def test_unregistering() -> None:
    agent = Agent()
    agent.start()
    agent.accept()
    agent.machine.unregister(agent.now)
    request = agent.take()
    assert contact_of(request).param("expires") == "0"
    assert request.cseq.number == 2
    assert agent.machine.state is RegistrationState.UNREGISTERING
    agent.machine.unregister(agent.now)
    assert agent.answer(200, contacts=(OTHER,)) == [Unregistered()]
    assert agent.machine.state is RegistrationState.IDLE
    assert not agent.machine.is_registered(agent.now)
    assert agent.machine.next_timer() is None
    assert agent.machine.next_request() is None
    agent.start()
    assert contact_of(agent.requests[-1][1]).param("expires") == "3600"


def test_unregistering_with_a_challenge() -> None:
    realm, agent = Realm(), agent_with("wonder-land")
    agent.start()
    realm.challenge(agent)
    agent.take()
    agent.accept()
    agent.now += 2000.0
    agent.machine.unregister(agent.now)
    assert realm.check(agent.take(), agent.now) is Verdict.STALE
    assert realm.challenge(agent, stale=True) == []
    request = agent.take()
    assert realm.check(request, agent.now) is Verdict.OK
    assert contact_of(request).param("expires") == "0"
    assert agent.answer(200) == [Unregistered()]


def test_unregistering_what_was_never_registered() -> None:
    agent = Agent()
    agent.machine.unregister(agent.now)
    assert agent.events() == [Unregistered()]
    agent.start()
    agent.answer(503)
    agent.machine.unregister(agent.now)
    assert agent.events() == [Unregistered()]
    assert agent.machine.next_timer() is None


def test_unregistering_waits_for_the_outstanding_request() -> None:
    agent = Agent()
    agent.start()
    agent.machine.unregister(agent.now)
    assert agent.machine.next_request() is None
    assert isinstance(only(agent.accept()), Registered)
    assert contact_of(agent.take()).param("expires") == "0"
    assert agent.answer(200) == [Unregistered()]
    assert agent.machine.next_request() is None


def test_starting_again_takes_back_an_unregister_that_waits() -> None:
    agent = Agent()
    agent.start()
    agent.machine.unregister(agent.now)
    agent.machine.start(agent.now)
    assert isinstance(only(agent.accept()), Registered)
    assert agent.machine.next_request() is None
    assert agent.machine.state is RegistrationState.REGISTERED


@pytest.mark.parametrize("outstanding", [True, False])
def test_unregistering_from_a_server_that_is_away_does_not_go_on_for_ever(
    outstanding: bool,
) -> None:
    agent = Agent()
    agent.start()
    if not outstanding:
        agent.accept()
    agent.machine.unregister(agent.now)
    if not outstanding:
        agent.take()
    agent.machine.request_failed("timed out", agent.now)
    assert agent.events() == [RegistrationFailed(0, "timed out", None)]
    assert agent.machine.state is RegistrationState.IDLE
    assert agent.machine.next_timer() is None
    assert agent.machine.next_request() is None


def test_an_expiry_of_zero_is_a_programming_error() -> None:
    with pytest.raises(LocalProtocolError):
        Agent(expires=0)


@pytest.mark.rfc("5626", "4.5")
def test_a_flow_that_lived_is_replaced_soon_one_that_breaks_again_and_again_later() -> None:
    agent = Agent(base_time=1.0, max_time=30.0)
    agent.start()
    agent.accept(3600)
    agent.now += 121
    for longest in (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
        # RFC 5626 §4.5: the first wait is the base time, then it doubles, until a flow lives long.
        agent.machine.flow_lost("the connection was closed", agent.now)
        event = only(agent.events())
        assert isinstance(event, RegistrationFailed)
        assert event.status == 0
        assert event.retry_in is not None
        assert longest / 2 <= event.retry_in <= longest
        assert agent.machine.state is RegistrationState.WAITING
        agent.wait()
        agent.take()
        assert isinstance(only(agent.accept(3600)), Registered)
        agent.now += 20
    agent.now += 121
    agent.machine.flow_lost("the connection was closed", agent.now)
    event = only(agent.events())
    assert isinstance(event, RegistrationFailed)
    assert event.retry_in is not None
    assert event.retry_in <= 1.0


def test_a_flow_that_is_lost_while_a_register_is_out_changes_nothing() -> None:
    agent = Agent()
    agent.start()
    agent.machine.flow_lost("closed", agent.now)
    assert agent.events() == []
    agent.accept(60)
    agent.wait()
    agent.take()
    agent.machine.flow_lost("closed", agent.now)
    assert agent.events() == []
    assert agent.machine.state is RegistrationState.REFRESHING


@pytest.mark.rfc("5626", "4.2")
def test_outbound_and_gruus_are_taken_from_the_answer() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=1)
    agent.start()
    ours = f'{CONTACT};expires=600;reg-id=1;+sip.instance="<{INSTANCE}>"'
    gruus = (
        f';pub-gruu="sip:alice@example.org;gr={INSTANCE}";temp-gruu="sip:tgruu.x@example.org;gr"'
    )
    event = only(agent.answer(200, ("Require", "outbound"), contacts=(ours + gruus,)))
    assert isinstance(event, Registered)
    assert event.outbound
    assert agent.machine.outbound
    assert agent.machine.public_gruu == f"sip:alice@example.org;gr={INSTANCE}"
    assert agent.machine.temporary_gruu == "sip:tgruu.x@example.org;gr"
    agent.wait()
    agent.take()
    # A registrar that does not say so any more does not do it any more.
    event = only(agent.answer(200, contacts=(ours + ';pub-gruu="nonsense"',)))
    assert isinstance(event, Registered)
    assert not event.outbound
    assert agent.machine.public_gruu is None


@pytest.mark.rfc("5626", "4.2")
def test_without_a_reg_id_outbound_is_not_in_force() -> None:
    agent = Agent()
    agent.start()
    agent.answer(200, ("Require", "outbound"), contacts=(f"{CONTACT};expires=600",))
    assert not agent.machine.outbound


def test_another_way_needs_another_contact() -> None:
    agent = Agent(instance_id=INSTANCE, reg_id=1)
    request = agent.start()
    agent.machine.contact = NameAddr.parse("<sip:alice@198.51.100.1:5060>")
    request.set("Contact", agent.machine.contact_value())
    contact = contact_of(request)
    assert contact.uri_text == "sip:alice@198.51.100.1:5060"
    assert contact.param("reg-id") == "1"
    assert contact.param("expires") == "3600"
