"""Plain words: what a message does where it stands, what its headers say, how two differ."""

from hypothesis import given
from hypothesis import strategies as st

from rcsops.trace import (
    Arrow,
    Explained,
    compare,
    explain,
    explain_headers,
    hide_credentials,
    highlight,
    merge,
)
from rcsops.trace.explain_headers import CPIM_HEADERS, MSRP_HEADERS, SIP_HEADERS

from .messages import ALEX, ALEX_MSRP, BOB, BOB_MSRP, SERVER, msrp, request, response, seen, sent

SDP = "v=0\r\nc=IN IP4 127.0.0.1\r\nm=message 50001 TCP/MSRP *\r\n"
SDP += "a=path:msrp://127.0.0.1:50001/session-of-alex;tcp\r\n"
CHALLENGE = 'WWW-Authenticate: Digest realm="r", nonce="abc", qop="auth"\r\n'
CREDENTIALS = 'Authorization: Digest username="alex", nonce="abc", response="0123"\r\n'
IMDN = "<imdn><status><delivered/></status></imdn>"


def answer(status: int, reason: str, method: str, *, branch: str, headers: str = "") -> bytes:
    return response(status, reason, method, branch=branch).replace(
        b"Content-Length", headers.encode() + b"Content-Length"
    )


def told(*entries: list) -> tuple[list[Arrow], list[Explained]]:
    arrows = merge([each for two in entries for each in two])
    return arrows, explain(arrows)


def test_a_registration() -> None:
    alex, server = ("alex", ALEX), ("server", SERVER)
    _, words = told(
        sent(0.0, alex, server, request("REGISTER", branch="1")),
        sent(0.1, server, alex, answer(401, "U", "REGISTER", branch="1", headers=CHALLENGE)),
        sent(0.2, alex, server, request("REGISTER", branch="2", cseq=2, headers=CREDENTIALS)),
        sent(0.3, server, alex, response(200, "OK", "REGISTER", branch="2")),
    )
    assert "without credentials" in words[0].text
    assert "hash over this nonce" in words[1].text
    assert "answer to the server's challenge" in words[2].text
    assert "Registered" in words[3].text
    assert [each.answers for each in words] == [None, 0, None, 2]
    assert words[2].follows == 0
    assert words[0].waited is None
    assert round(words[1].waited or 0, 3) == 0.1


def test_a_call_that_is_gone_is_a_failure_but_for_a_bye() -> None:
    alex, bob = ("alex", ALEX), ("bob", BOB)
    arrows, words = told(
        sent(0.0, alex, bob, request("BYE", branch="1")),
        sent(0.1, bob, alex, response(481, "Gone", "BYE", branch="1")),
        sent(0.2, alex, bob, request("INVITE", branch="2", cseq=2)),
        sent(0.3, bob, alex, response(481, "Gone", "INVITE", branch="2")),
    )
    assert [arrow.kind for arrow in arrows] == ["sip", "sip", "sip", "failed"]
    assert "as good as a 200" in words[1].text
    assert "crossed" not in words[1].text
    assert "no such call" in words[3].text


def test_a_wrong_password_is_not_an_ordinary_step() -> None:
    alex, server = ("alex", ALEX), ("server", SERVER)
    _, words = told(
        sent(0.0, alex, server, request("REGISTER", branch="2", headers=CREDENTIALS)),
        sent(0.1, server, alex, answer(401, "U", "REGISTER", branch="2", headers=CHALLENGE)),
    )
    assert "wrong" in words[1].text


def test_the_two_kinds_of_ack() -> None:
    alex, server = ("alex", ALEX), ("server", SERVER)
    for status, part in ((200, "a request of its own"), (486, "only goes to the next hop")):
        _, words = told(
            sent(0.0, alex, server, request("INVITE", branch="1", body=SDP)),
            sent(0.1, server, alex, response(status, "R", "INVITE", branch="1")),
            sent(0.2, alex, server, request("ACK", branch="1")),
        )
        assert part in words[2].text
        assert "127.0.0.1:50001" in words[0].text


def test_what_is_passed_on() -> None:
    alex, server, bob = ("alex", ALEX), ("server", SERVER), ("bob", BOB)
    first = request("INVITE", branch="1", headers="From: <sip:alex@r>;tag=1\r\n", body=SDP)
    second = first.replace(b"Via:", b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK2\r\nVia:", 1)
    ringing = answer(180, "Ringing", "INVITE", branch="1")
    longer = ringing.replace(b"Via:", b"Via: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK2\r\nVia:", 1)
    _, words = told(
        sent(0.0, alex, server, first),
        sent(0.1, server, bob, second),
        sent(0.2, bob, server, longer),
        sent(0.3, server, alex, ringing),
    )
    assert "alex invites" in words[1].text
    assert "server passes it on" in words[1].text
    assert words[1].follows == 0
    assert words[2].answers == 1
    assert "passes it back" not in words[2].text
    assert words[3].answers == 0
    assert "passes it back" in words[3].text


def test_what_is_sent_again_or_lost() -> None:
    register = request("REGISTER", branch="1")
    arrows = merge(
        [
            seen(0.0, "alex", "out", ALEX, SERVER, register),
            *sent(0.5, ("alex", ALEX), ("server", SERVER), register),
        ]
    )
    words = explain(arrows)
    assert "did not arrive" in words[0].text
    assert words[1].repeats == 0
    assert "Sent again" in words[1].text


def test_what_is_sent_again_is_told_of_as_the_first_was() -> None:
    alex, server = ("alex", ALEX), ("server", SERVER)
    proof = request("REGISTER", branch="2", cseq=2, headers=CREDENTIALS)
    arrows, words = told(
        sent(0.0, alex, server, request("REGISTER", branch="1")),
        sent(0.1, server, alex, answer(401, "U", "REGISTER", branch="1", headers=CHALLENGE)),
        sent(0.2, alex, server, proof),
        sent(0.7, alex, server, proof),
    )
    assert [each.retransmission for each in arrows] == [False, False, False, True]
    assert words[3].repeats == 2
    assert words[3].text.endswith(words[2].text)


def test_msrp() -> None:
    alex, bob = ("alex", ALEX_MSRP), ("bob", BOB_MSRP)
    cpim = "NS: imdn <urn:ietf:params:imdn>\r\n\r\nContent-Type: {}\r\n\r\n{}"
    kind = "Content-Type: message/cpim\r\n"
    _, words = told(
        sent(0.0, alex, bob, msrp("t1", "SEND")),
        sent(0.1, bob, alex, msrp("t1", "200 OK")),
        sent(0.2, alex, bob, msrp("t2", "SEND", kind, cpim.format("text/plain", "hi"))),
        sent(0.3, bob, alex, msrp("t3", "SEND", kind, cpim.format("message/imdn+xml", IMDN))),
        sent(0.4, bob, alex, msrp("t4", "SEND", f"Byte-Range: 1-2/9\r\n{kind}", "hi")),
    )
    assert "which session it is" in words[0].text
    assert words[1].answers == 0
    assert "the server does not see it" in words[2].text
    assert "it has reached the device" in words[3].text
    assert "a piece of a message" in words[4].text


def test_headers() -> None:
    data = request("INVITE", branch="1", headers="Content-Type: application/sdp\r\n", body=SDP)
    found = {each.name: each for each in explain_headers("sip", data)}
    assert {"Via", "Call-ID", "CSeq", "m=message", "a=path", "c=IN"} <= found.keys()
    assert "branch" in found["Via"].text
    assert found["a=path"].value.startswith("msrp://127.0.0.1:50001")
    compact = [each.name for each in explain_headers("sip", response(200, "", "BYE", branch="1"))]
    assert "i" in compact
    path = explain_headers("msrp", msrp("t1", "SEND", "Byte-Range: 1-2/2\r\n"))
    assert [each.name for each in path] == ["To-Path", "From-Path", "Byte-Range"]


def test_there_are_words_for_the_headers_that_matter() -> None:
    assert len(SIP_HEADERS) + len(MSRP_HEADERS) + len(CPIM_HEADERS) >= 50
    wanted = "via max-forwards from to call-id cseq contact record-route route www-authenticate"
    assert set(wanted.split()) <= SIP_HEADERS.keys()
    assert {"to-path", "from-path", "byte-range", "message-id"} <= MSRP_HEADERS.keys()
    assert "imdn.disposition-notification" in CPIM_HEADERS


def test_comparing() -> None:
    first = request("REGISTER", branch="1", headers="Route: <a>\r\nRoute: <b>\r\nX: 1\r\n")
    second = request("REGISTER", branch="2", cseq=2, headers=f"Route: <b>\r\n{CREDENTIALS}")
    found = [
        (each.kind, each.name, each.first, each.second)
        for each in compare("sip", first, second)
        if each.kind != "same"
    ]
    assert ("changed", "CSeq", "1 REGISTER", "2 REGISTER") in found
    assert ("removed", "Route", "<a>", "") in found
    assert ("removed", "X", "1", "") in found
    added = [name for kind, name, _, _ in found if kind == "added"]
    assert added == ["Authorization"]
    assert not [each for each in compare("sip", first, first) if each.kind != "same"]


def test_colours_lose_nothing() -> None:
    kinds = {
        piece.kind: piece.text
        for line in highlight(request("INVITE", branch="1", headers=CREDENTIALS, body=SDP))
        for piece in line
    }
    assert kinds["method"] == "INVITE"
    assert kinds["version"] == "SIP/2.0"
    assert {"name", "uri", "string", "number", "parameter"} <= kinds.keys()


@given(st.binary(max_size=400))
def test_any_octets_are_explained_coloured_and_hidden(data: bytes) -> None:
    for protocol in ("sip", "msrp"):
        explain_headers(protocol, data)
        assert not [each for each in compare(protocol, data, data) if each.kind != "same"]
    for start in (b"", b"INVITE sip:a SIP/2.0\r\n", b"MSRP abcd SEND\r\n"):
        whole = start + data
        text = whole.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
        assert "\n".join("".join(p.text for p in line) for line in highlight(whole)) == text
        assert len(hide_credentials(whole)) == len(whole)
        entry = seen(0.0, "alex", "out", ALEX, SERVER, whole)
        explain(merge([entry, entry], guess=True))


def test_credentials_are_hidden() -> None:
    head = (
        b'REGISTER sip:a SIP/2.0\r\nProxy-Authorization: Digest username="alex", nonce="se\\"cret",'
        b' cnonce=secret, response="secret"\r\n ,opaque="secret"\r\n'
        b"Authorization: Bearer secret.secret\r\nContact: <sip:alex:secret@127.0.0.1:5060>\r\n"
        b'WWW-Authenticate: Digest nonce="secret\r\n\r\n'
    )
    body = b"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:secret|2^20\r\na=ice-pwd:secret\r\n"
    hidden = hide_credentials(head + body)
    assert b"secret" not in hidden
    assert b"cret" not in hidden
    assert b'username="alex"' in hidden
    assert b"<sip:alex:xxxxxx@127.0.0.1:5060>" in hidden
    assert len(hidden) == len(head + body)
    plain = b'MESSAGE sip:a SIP/2.0\r\nX: 1\r\n\r\nmy response="x" and nonce=1'
    assert hide_credentials(plain) == plain
