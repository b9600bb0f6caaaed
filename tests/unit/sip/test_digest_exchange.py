"""DigestClient and DigestServer against each other, and each against a hostile peer."""

import pytest

from rcsops.errors import LocalProtocolError, RemoteProtocolError
from rcsops.sip import (
    ALGORITHMS,
    Credential,
    Credentials,
    DigestClient,
    DigestServer,
    Request,
    Response,
    Verdict,
    parse_message,
)
from rcsops.tokens import Tokens

REALM = "example.org"
ALICE = Credential.from_password("alice", REALM, "wonder-land")
VARIANTS = [name + suffix for name in ALGORITHMS for suffix in ("", "-sess")]


def server(**options: object) -> DigestServer:
    return DigestServer(REALM, b"secret", Tokens.deterministic(1), **options)  # type: ignore[arg-type]


def client(**options: object) -> DigestClient:
    return DigestClient([ALICE], Tokens.deterministic(2), **options)  # type: ignore[arg-type]


def register(body: bytes = b"") -> Request:
    return Request("REGISTER", f"sip:{REALM}", [("CSeq", "1 REGISTER")], body)


def challenge(request: Request, *values: str, status: int = 401) -> Response:
    header = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    return Response(status, headers=[(header, value) for value in values])


def judge(
    verifier: DigestServer, request: Request, now: float = 10, ha1: dict[str, str] | None = None
) -> Verdict:
    # Through bytes, as on the wire.
    received = parse_message(bytes(request))
    assert isinstance(received, Request)
    (credentials,) = received.authorizations
    hashes = ALICE.ha1 if ha1 is None else ha1
    return verifier.verify(credentials, received.method, received.body, hashes, now)


@pytest.mark.rfc("3261", "22.2", "22.4")
@pytest.mark.parametrize("qop", ["auth", "auth-int"])
@pytest.mark.parametrize("algorithm", VARIANTS)
def test_both_sides_agree(algorithm: str, qop: str) -> None:
    verifier, user = server(algorithms=(algorithm,), qop=(qop,)), client()
    request = register(b"body")
    assert user.authorize(request, challenge(request, *verifier.challenges(10)))
    assert judge(verifier, request) is Verdict.OK
    (credentials,) = request.authorizations
    assert credentials.algorithm == algorithm
    assert credentials.opaque == verifier.opaque
    info = verifier.authentication_info(credentials, ALICE.ha1, b"answer")
    user.receive_info(Response(200, headers=[("Authentication-Info", info)], body=b"answer"))

    second = register(b"other")
    assert user.preempt(second)
    assert second.authorizations[0].nc == "00000002"
    assert judge(verifier, second) is Verdict.OK

    request.body = b"forged"
    assert judge(verifier, request) is (Verdict.WRONG if qop == "auth-int" else Verdict.REPLAY)


@pytest.mark.rfc("3261", "22.2")
def test_the_topmost_supported_and_allowed_challenge_is_taken() -> None:
    values = [
        f'Digest realm="{REALM}", nonce="n", algorithm=AKAv1-MD5, qop="auth"',
        f'Digest realm="{REALM}", nonce="n", algorithm=MD5, qop="auth"',
        f'Digest realm="{REALM}", nonce="n", algorithm=SHA-256, qop="auth"',
    ]
    request = register()
    assert client().authorize(request, challenge(request, *values))
    assert [each.algorithm for each in request.authorizations] == ["MD5"]
    assert client(min_algorithm="SHA-256").authorize(request, challenge(request, *values))
    assert [each.algorithm for each in request.authorizations] == ["SHA-256"]
    assert not client(min_algorithm="SHA-256").authorize(request, challenge(request, values[1]))


@pytest.mark.parametrize(
    "value",
    [
        f'Basic realm="{REALM}"',
        'Digest realm="elsewhere", nonce="n"',
        f'Digest realm="{REALM}", nonce="n", qop="auth-conf"',
        f'Digest realm="{REALM}", nonce="n", algorithm=MD5-sess',
        f'Digest realm="{REALM}"',
        f'Digest realm="{REALM}", realm="{REALM}", nonce="n"',
        f'Digest realm="{REALM}, nonce=n',
    ],
)
def test_a_challenge_that_cannot_be_answered(value: str) -> None:
    request = register()
    assert not client().authorize(request, challenge(request, value))
    assert not request.has("Authorization")


def test_echo_is_octet_by_octet_and_old_challenges_work() -> None:
    value = 'Digest realm="example.org", nonce="a\\"b", opaque="\\\\o", qop="auth"'
    request = register()
    assert client().authorize(request, challenge(request, value))
    text = request.get("Authorization")
    assert text is not None
    assert 'nonce="a\\"b"' in text
    assert 'opaque="\\\\o"' in text
    assert "algorithm" not in text
    old = register()
    assert client().authorize(old, challenge(old, 'Digest realm="example.org", nonce="n"'))
    assert old.authorizations[0].qop is None
    assert old.authorizations[0].nc is None


@pytest.mark.rfc("3261", "22.3")
def test_every_realm_is_answered_and_the_others_credentials_stay() -> None:
    other = Credential.from_password("alice", "proxy.example", "x")
    user = DigestClient({REALM: ALICE, "proxy.example": other}.get, Tokens.deterministic(2))
    request = register()
    first = challenge(request, f'Digest realm="{REALM}", nonce="n", qop="auth"', status=407)
    second = challenge(request, 'Digest realm="proxy.example", nonce="m", qop="auth"', status=407)
    assert user.authorize(request, first)
    assert user.authorize(request, second)
    assert [each.realm for each in request.proxy_authorizations] == [REALM, "proxy.example"]
    assert not request.has("Authorization")


@pytest.mark.rfc("3261", "22.1", "22.4")
def test_a_wrong_password_is_not_tried_again_but_a_stale_nonce_is() -> None:
    verifier, user = server(), client()
    request = register()
    assert user.authorize(request, challenge(request, *verifier.challenges(10)))
    assert user.authorize(request, challenge(request, *verifier.challenges(11, stale=True)))
    assert not user.authorize(request, challenge(request, *verifier.challenges(12)))


@pytest.mark.rfc("3261", "22.2")
def test_credentials_made_ahead_may_be_challenged_once() -> None:
    before, after, user = server(), DigestServer(REALM, b"new", Tokens.deterministic(3)), client()
    request = register()
    assert user.authorize(request, challenge(request, *before.challenges(10)))
    later = register()
    assert user.preempt(later)
    assert judge(after, later) is Verdict.STALE
    assert user.authorize(later, challenge(later, *after.challenges(10)))
    assert judge(after, later) is Verdict.OK
    assert not user.authorize(later, challenge(later, *after.challenges(10)))


@pytest.mark.rfc("3261", "22.1")
def test_ack_and_cancel_get_no_credentials() -> None:
    user = client()
    request = register()
    assert not user.preempt(request)
    assert user.authorize(request, challenge(request, *server().challenges(10)))
    assert not user.preempt(Request("CANCEL", "sip:x"))
    assert not user.preempt(Request("ACK", "sip:x"))


@pytest.mark.rfc("3261", "22.2")
def test_what_the_registrar_asked_for_is_for_no_other() -> None:
    user = client()
    request = register()
    assert user.authorize(request, challenge(request, *server().challenges(10)))
    invite = Request("INVITE", "sip:mallory@example.org")
    assert not user.preempt(invite)
    assert not invite.has("Authorization")
    assert user.preempt(register())


@pytest.mark.rfc("3261", "22.4")
def test_nextnonce_is_used_and_wrong_rspauth_is_forged() -> None:
    verifier, user = server(), client()
    request = register()
    user.authorize(request, challenge(request, *verifier.challenges(10)))
    (credentials,) = request.authorizations
    info = verifier.authentication_info(credentials, ALICE.ha1, nextnonce=verifier.nonce(20))
    user.receive_info(Response(200, headers=[("Authentication-Info", info)]))
    second = register()
    user.preempt(second)
    assert second.authorizations[0].nonce != credentials.nonce
    assert second.authorizations[0].nc == "00000001"
    assert judge(verifier, second, 20) is Verdict.OK
    forged = verifier.authentication_info(second.authorizations[0], {"SHA-256": "0" * 64})
    with pytest.raises(RemoteProtocolError):
        user.receive_info(Response(200, headers=[("Authentication-Info", forged)]))


def authorized(verifier: DigestServer, now: float = 10) -> Request:
    request = register()
    assert client().authorize(request, challenge(request, *verifier.challenges(now)))
    return request


@pytest.mark.rfc("3261", "22.4")
def test_verdicts() -> None:
    verifier = server(nonce_lifetime=300)
    request = authorized(verifier)
    assert judge(verifier, request, ha1={}) is Verdict.WRONG
    assert judge(verifier, request, ha1={"SHA-256": "0" * 64}) is Verdict.WRONG
    assert judge(verifier, request, 310.5) is Verdict.STALE
    assert judge(verifier, request, 9) is Verdict.STALE
    assert judge(verifier, request, 309) is Verdict.OK
    assert judge(verifier, request, 309) is Verdict.REPLAY
    stranger = authorized(DigestServer(REALM, b"other", Tokens.deterministic(1)))
    assert judge(verifier, stranger) is Verdict.STALE


@pytest.mark.rfc("3261", "22.4")
@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ("Digest ", "Basic ", Verdict.MALFORMED),
        ("nc=00000001", "nc=1", Verdict.MALFORMED),
        ("nc=00000001", "nc=00000000", Verdict.MALFORMED),
        ("nc=00000001, ", "", Verdict.MALFORMED),
        ("nonce=", "nix=", Verdict.MALFORMED),
        ("response=", "nix=", Verdict.MALFORMED),
        ("uri=", "nix=", Verdict.MALFORMED),
        ('realm="example.org"', 'realm="example.net"', Verdict.WRONG),
        ("algorithm=SHA-256", "algorithm=SHA-1", Verdict.WRONG),
        ("qop=auth", "qop=auth-int", Verdict.WRONG),
        ('response="', 'response="\u00fc\udcff', Verdict.WRONG),
    ],
)
def test_broken_credentials(old: str, new: str, verdict: Verdict) -> None:
    verifier = server()
    text = authorized(verifier).get("Authorization") or ""
    assert old in text
    credentials = Credentials.parse(text.replace(old, new))
    assert verifier.verify(credentials, "REGISTER", b"", ALICE.ha1, 10) is verdict


@pytest.mark.rfc("3261", "22.4")
def test_the_digest_uri_must_be_the_request_uri() -> None:
    verifier = server()
    credentials = authorized(verifier).authorizations[0]
    wrong = verifier.verify(credentials, "REGISTER", b"", ALICE.ha1, 10, uri="sip:example.net")
    assert wrong is Verdict.WRONG
    same = verifier.verify(credentials, "REGISTER", b"", ALICE.ha1, 10, uri="sip:EXAMPLE.org")
    assert same is Verdict.OK


def with_count(verifier: DigestServer, nonce: str, count: int) -> Verdict:
    from rcsops.sip import digest_response

    response = digest_response(
        "MD5", ALICE.ha1["MD5"], method="M", uri="u", nonce=nonce, qop="auth",
        nc=f"{count:08x}", cnonce="c",
    )  # fmt: skip
    text = (
        f'Digest username="alice", realm="{REALM}", nonce="{nonce}", uri="u", '
        f'response="{response}", cnonce="c", qop=auth, nc={count:08x}'
    )
    return verifier.verify(Credentials.parse(text), "M", b"", ALICE.ha1, 10)


def test_counts_may_come_out_of_order_but_never_twice() -> None:
    verifier = server()
    nonce = verifier.nonce(10)
    seen = [with_count(verifier, nonce, count) for count in (1, 3, 2, 3, 2, 1, 80, 4, 17, 79)]
    ok, replay = Verdict.OK, Verdict.REPLAY
    assert seen == [ok, ok, ok, replay, replay, replay, ok, replay, ok, ok]
    assert with_count(verifier, nonce, 0xFFFFFFFF) is ok
    assert with_count(verifier, nonce, 0xFFFFFFFF) is replay


@pytest.mark.rfc("3261", "22.4")
def test_without_qop_a_nonce_is_good_once() -> None:
    verifier, user = server(algorithms=("MD5",)), client()
    request = register()
    value = f'Digest realm="{REALM}", nonce="{verifier.nonce(10)}"'
    assert user.authorize(request, challenge(request, value))
    assert judge(verifier, request) is Verdict.OK
    assert judge(verifier, request) is Verdict.REPLAY


def test_memory_is_bounded_and_a_forgotten_nonce_is_stale_not_fresh() -> None:
    verifier = server(algorithms=("MD5",), max_used=8)
    nonces = [verifier.nonce(n / 10) for n in range(100)]
    for nonce in nonces:
        assert with_count(verifier, nonce, 1) is Verdict.OK
    assert verifier.tracked <= 8
    assert [with_count(verifier, nonce, 1) for nonce in nonces[:92]] == [Verdict.STALE] * 92
    assert [with_count(verifier, nonce, 1) for nonce in nonces[92:]] == [Verdict.REPLAY] * 8


def test_guessing_strangers_take_no_memory() -> None:
    verifier = server()
    request = authorized(verifier)
    for _ in range(50):
        assert judge(verifier, request, ha1={"SHA-256": "1" * 64}) is Verdict.WRONG
    assert verifier.tracked == 0


def test_a_hostile_server_cannot_fill_the_client() -> None:
    user = DigestClient(lambda realm: ALICE, Tokens.deterministic(2))
    for n in range(100):
        request = register()
        assert user.authorize(request, challenge(request, f'Digest realm="{n}", nonce="n"'))
    request = register()
    user.preempt(request)
    assert len(request.authorizations) <= 16


def test_misuse() -> None:
    with pytest.raises(LocalProtocolError):
        client(min_algorithm="MD4")
    with pytest.raises(LocalProtocolError):
        server(algorithms=("MD4",))
    with pytest.raises(LocalProtocolError):
        server(qop=("auth-conf",))
