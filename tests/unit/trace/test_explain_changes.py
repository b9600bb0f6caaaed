"""What is said of two messages beside each other."""

from rcsops.trace import compare, explain_changes

SENT = (
    b"INVITE sip:bob@rcs.example SIP/2.0\r\nVia: SIP/2.0/TCP a:1;branch=z9hG4bKa\r\n"
    b"Max-Forwards: 70\r\nFrom: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\n"
    b"Call-ID: c\r\nCSeq: 2 INVITE\r\nProxy-Authorization: Digest x\r\nContent-Length: 0\r\n\r\n"
)
RECEIVED = (
    b"INVITE sip:b@b:9 SIP/2.0\r\nVia: SIP/2.0/TCP p:2;branch=z9hG4bKp\r\n"
    b"Via: SIP/2.0/TCP a:1;branch=z9hG4bKa\r\nRecord-Route: <sip:p;lr>\r\n"
    b"Max-Forwards: 69\r\nFrom: <sip:alex@rcs.example>;tag=1\r\nTo: <sip:bob@rcs.example>\r\n"
    b"Call-ID: c\r\nCSeq: 2 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def told(first: bytes, second: bytes, protocol: str = "sip") -> list[str]:
    return explain_changes(compare(protocol, first, second))


def test_an_invite_as_sent_and_as_it_came() -> None:
    begins = [words.partition(":")[0] for words in told(SENT, RECEIVED)]
    assert begins == [
        "The Request-URI is another",
        "Via is added",
        "Record-Route is added",
        "Max-Forwards goes down by 1",
        "Proxy-Authorization is gone",
    ]


def test_the_same_twice() -> None:
    assert told(SENT, SENT) == [
        "Nothing: they are alike octet for octet. One is the other once more."
    ]


def test_a_request_and_its_answer() -> None:
    answer = SENT.replace(b"INVITE sip:bob@rcs.example SIP/2.0", b"SIP/2.0 200 OK")
    answer = answer.replace(b"To: <sip:bob@rcs.example>", b"To: <sip:bob@rcs.example>;tag=2")
    said = told(SENT, answer)
    assert said[0] == "One is a request, the other an answer."
    assert said[1].startswith("To has a tag now")


def test_another_request_of_the_dialog() -> None:
    other = SENT.replace(b"CSeq: 2", b"CSeq: 3").replace(b"z9hG4bKa", b"z9hG4bKb")
    assert [words.partition(":")[0] for words in told(SENT, other)] == [
        "The branch of Via is another",
        "CSeq goes up by 1",
    ]


def test_bodies_of_msrp_and_what_nobody_knows() -> None:
    first = b"MSRP a SEND\r\nMessage-ID: 1\r\nX-A: 1\r\nContent-Type: text/plain\r\n\r\nhi\r\n"
    first += b"-------a$\r\n"
    said = told(first, first.replace(b"hi", b"ho").replace(b"X-A: 1", b"X-A: 2"), "msrp")
    assert "X-A is another." in said
    assert said[-1] == "The body differs, in 1 line."
