"""A connection against octets written by hand from RFC 4975, none of them made by our code."""

import pytest

from rcsops.errors import LocalProtocolError
from rcsops.msrp import (
    BodyComplete,
    BodyReceived,
    CloseConnection,
    MessageAborted,
    MessageFailed,
    MessageReceived,
    MsrpConnection,
    MsrpSession,
    MsrpUri,
    PeerBound,
    ProtocolFault,
    ReceiveLimits,
    SessionTable,
    SuccessReported,
)
from rcsops.tokens import Tokens
from tests.unit.msrp.grammar import Checked, check_stream

OURS = "msrp://127.0.0.1:7000/oursessionid000000000;tcp"
THEIRS = "msrp://127.0.0.1:9000/theirsessionid0000000;tcp"


class Peer:
    """Our passive session, and a peer that is typed in by hand."""

    def __init__(self, remote: str = THEIRS, **options: object) -> None:
        self.table = SessionTable()
        path = (MsrpUri.parse(remote),) if remote else ()
        options = {"tokens": Tokens.deterministic(7), "active": False, **options}
        self.session = MsrpSession((MsrpUri.parse(OURS),), path, **options)  # type: ignore[arg-type]
        self.table.add(self.session)
        self.connection = MsrpConnection(self.table)

    def type(self, data: bytes, connection: MsrpConnection | None = None) -> list[Checked]:
        """Send octets; what comes back, checked by the grammar."""
        connection = connection or self.connection
        connection.receive_data(data, 0.0)
        return check_stream(connection.data_to_send(0.0, 1 << 20))

    def statuses(self, data: bytes) -> list[bytes | None]:
        """Send octets; the statuses of the responses."""
        return [f.head["status"] for f in self.type(data) if f.kind == "response"]

    def events(self) -> list[object]:
        found = []
        while (event := self.session.next_event()) is not None:
            found.append(event)
        return found

    def messages(self) -> list[bytes]:
        return [e.body for e in self.events() if isinstance(e, MessageReceived)]


def frame(
    body: bytes | None,
    span: str = "",
    *,
    method: str = "SEND",
    key: str = "tid1",
    message: str = "mid1",
    flag: str = "$",
    to: str = OURS,
    from_: str = THEIRS,
    more: str = "",
    kind: str = "text/plain",
) -> bytes:
    lines = [f"MSRP {key} {method}", f"To-Path: {to}", f"From-Path: {from_}"]
    if message:
        lines.append(f"Message-ID: {message}")
    if span:
        lines.append(f"Byte-Range: {span}")
    head = "\r\n".join(lines) + "\r\n" + more
    if body is None:
        return f"{head}-------{key}{flag}\r\n".encode()
    return (
        f"{head}Content-Type: {kind}\r\n\r\n".encode()
        + body
        + f"\r\n-------{key}{flag}\r\n".encode()
    )


@pytest.mark.parametrize("span", ["", "1-0/0", "1-*/*", "0-0/0"])
def test_an_empty_send_in_any_form_binds_and_is_no_message(span: str) -> None:
    peer = Peer()
    (answer,) = peer.type(frame(None, span))
    assert (answer.head["status"], answer.id) == (b"200", b"tid1")
    assert (answer.head["to"], answer.head["from"]) == (THEIRS.encode(), OURS.encode())
    assert peer.events() == [PeerBound()]
    assert peer.session.bound


@pytest.mark.parametrize("span", ["", "1-5/5", "1-*/5", "1-*/*", "1-7/7"])
def test_a_whole_message_whatever_its_range_says_about_the_end(span: str) -> None:
    # The first example of the RFC counts the CRLF before the end-line as well.
    peer = Peer()
    assert peer.statuses(frame(b"hello", span)) == [b"200"]
    assert peer.messages() == [b"hello"]


def test_chunks_in_any_order_overlapping_and_interleaved() -> None:
    peer = Peer()
    answers = peer.statuses(
        frame(b"World", "6-10/10", key="aaaa", flag="$", message="mmm1")
        + frame(b"other ", "1-*/12", key="bbbb", flag="+", message="mmm2")
        + frame(b"HeXXX", "1-5/10", key="cccc", flag="+", message="mmm1").replace(
            b"+\r\n", b"+\r\n"
        )
        + frame(b"thing!", "7-12/12", key="dddd", message="mmm2")
    )
    assert answers == [b"200"] * 4
    assert peer.messages() == [b"HeXXXWorld", b"other thing!"]
    peer.statuses(frame(b"abcdef", "1-6/8", key="eeee", flag="+", message="mmm3"))
    peer.statuses(frame(b"CDE", "3-5/8", key="ffff", flag="+", message="mmm3"))
    peer.statuses(frame(b"gh", "7-8/8", key="gggg", message="mmm3"))
    assert peer.messages() == [b"abCDEfgh"]


def test_an_end_without_octets_finishes_a_message() -> None:
    peer = Peer()
    peer.statuses(frame(b"abc", "1-*/*", flag="+"))
    assert peer.statuses(frame(None, "4-3/3", key="tid2")) == [b"200"]
    assert peer.messages() == [b"abc"]


def test_a_hash_discards_and_the_id_may_start_again() -> None:
    peer = Peer()
    assert peer.statuses(frame(b"abc", "1-*/9", flag="+")) == [b"200"]
    assert peer.statuses(frame(b"def", "4-*/9", key="tid2", flag="#")) == [b"200"]
    assert MessageAborted("mid1") in peer.events()
    peer.statuses(frame(b"xyz", "1-3/3", key="tid3"))
    assert peer.messages() == [b"xyz"]


def test_duplicates_after_completion() -> None:
    peer = Peer()
    yes = "Success-Report: yes\r\n"
    first = peer.type(frame(b"abc", "1-3/3", more=yes))
    assert [f.kind for f in first] == ["response", "REPORT"]
    assert first[1].head["range"] == b"1-3/3"
    assert first[1].head["message"] == b"mid1"
    again = peer.type(frame(b"abc", "1-3/3", key="tid2", more=yes))
    assert [f.kind for f in again] == ["response"]
    assert peer.messages() == [b"abc"]


def test_the_id_of_a_finished_message_is_forgotten_at_last() -> None:
    peer = Peer(limits=ReceiveLimits(remembered=2))
    for key in ("mmm1", "mmm2", "mmm3", "mmm1"):
        peer.statuses(frame(b"x", "1-1/1", message=key))
    assert len(peer.messages()) == 4


def test_report_and_response_take_different_ways_back() -> None:
    relay = "msrp://relay.example.org:2855/rel;tcp"
    peer = Peer()
    answer, report = peer.type(
        frame(b"x", "1-1/1", from_=f"{relay} {THEIRS}", more="Success-Report: yes\r\n")
    )
    assert answer.head["to"] == relay.encode()
    assert report.head["to"] == f"{relay} {THEIRS}".encode()
    assert report.head["from"] == answer.head["from"] == OURS.encode()
    (refusal,) = peer.type(frame(None, method="NICKNAME", from_=f"{relay} {THEIRS}"))
    assert refusal.head["to"] == f"{relay} {THEIRS}".encode()
    assert refusal.head["status"] == b"501"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (frame(b"x", "1-1/1", message=""), b"400"),
        (frame(b"x", "1-1/1", message="m" * 200), b"400"),
        (frame(b"x", "nonsense"), b"400"),
        (frame(b"x", "0-1/1"), b"400"),
        (frame(b"x", "1-1/1", kind="image/png"), b"415"),
        (frame(b"x" * 200, "1-*/200"), b"413"),
        (frame(b"x" * 9000, "1-*/*"), b"413"),
        (frame(b"x", "1-*/101", flag="+"), b"413"),
        (frame(b"x", "999999999999-*/*", flag="+"), b"413"),
        (frame(None, method="AUTH"), b"501"),
    ],
)
def test_refusals(data: bytes, status: bytes) -> None:
    peer = Peer(accept_types=("text/plain",), limits=ReceiveLimits(max_size=100))
    peer.statuses(frame(None, key="bind"))
    assert peer.statuses(data) == [status]
    assert peer.messages() == []
    assert peer.statuses(frame(b"fine", key="tid9", message="mid9")) == [b"200"]
    assert peer.messages() == [b"fine"]


def test_the_rest_of_a_refused_message_is_refused() -> None:
    peer = Peer(accept_types=("text/plain",))
    assert peer.statuses(frame(b"x", "1-*/10", kind="image/png", flag="+")) == [b"415"]
    assert peer.statuses(frame(b"x", "2-*/10", kind="image/png", key="tid2")) == [b"415"]


def test_a_refusal_does_not_wait_for_the_end_of_an_endless_chunk() -> None:
    peer = Peer(limits=ReceiveLimits(max_size=100_000))
    head = frame(b"", "1-*/*").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert peer.statuses(head + b"x" * 60_000) == []
    assert peer.statuses(b"x" * 60_000) == [b"413"]
    assert peer.statuses(b"x" * 60_000) == []
    assert peer.statuses(b"\r\n-------tid1#\r\n") == []


def test_memory_is_bounded_whatever_the_peer_starts() -> None:
    peer = Peer(limits=ReceiveLimits(unfinished=3, buffered=250, assembled=200))
    keys = [f"msg{i}" for i in range(5)]
    starts = [frame(b"x" * 50, "1-*/*", message=k, key=k, flag="+") for k in keys]
    assert [peer.statuses(s) for s in starts] == [[b"200"]] * 3 + [[b"413"]] * 2
    assert peer.statuses(frame(b"x" * 140, "51-*/*", message="msg0", key="tida", flag="+")) == [
        b"413"
    ]
    assert peer.statuses(frame(b"x" * 60, "51-*/*", message="msg1", key="tidb", flag="+")) == [
        b"200"
    ]
    sparse = Peer()
    refused = 0
    for i in range(1100):
        refused += sparse.statuses(frame(b"x", f"{i * 5 + 1}-*/*", key=f"t{i:05}", flag="+")) == [
            b"413"
        ]
    assert refused > 0


def test_octets_behind_the_end_of_a_message() -> None:
    peer = Peer()
    peer.statuses(frame(b"ef", "5-6/6", key="tid1"))
    assert peer.statuses(frame(b"gh", "7-8/8", key="tid2", flag="+")) == [b"400"]
    assert [type(e) for e in peer.events()] == [PeerBound, MessageAborted]
    peer = Peer()
    peer.statuses(frame(b"ghi", "7-9/9", key="tid1", flag="+"))
    peer.statuses(frame(b"ab", "1-2/2", key="tid2", flag="$"))
    assert peer.messages() == []


@pytest.mark.parametrize("failure", ["no", "partial"])
def test_no_answers_where_none_are_wanted(failure: str) -> None:
    peer = Peer(accept_types=("text/plain",))
    more = f"Failure-Report: {failure}\r\n"
    assert peer.statuses(frame(b"x", "1-1/1", more=more)) == []
    refused = peer.statuses(frame(b"x", "1-1/1", more=more, kind="a/b", message="mid2"))
    assert refused == ([b"415"] if failure == "partial" else [])


def test_a_stranger_gets_481_and_the_door() -> None:
    for data in (
        frame(b"x", "1-1/1", to="msrp://127.0.0.1:7000/guess;tcp"),
        frame(b"x", "1-1/1", from_="msrp://127.0.0.1:9000/another;tcp"),
        frame(b"x", "1-1/1", to="nonsense"),
        frame(b"x", "1-1/1", from_="nonsense"),
    ):
        peer = Peer()
        peer.connection.receive_data(data, 0.0)
        assert b" 481 " in peer.connection.data_to_send(0.0)
        assert isinstance(peer.connection.next_event(), CloseConnection)
        assert peer.connection.next_event() is None
        assert not peer.session.bound
        assert peer.type(frame(b"x", "1-1/1")) == []


def test_481_leaves_a_connection_that_serves_a_session() -> None:
    peer = Peer()
    peer.statuses(frame(None))
    assert peer.statuses(frame(b"x", to="msrp://127.0.0.1:7000/guess;tcp")) == [b"481"]
    assert peer.connection.next_event() is None
    peer.table.remove(peer.session)
    assert peer.connection.sessions == ()
    assert peer.statuses(frame(b"x", key="tid2")) == [b"481"]


def test_a_rewritten_path_is_known_by_its_session_id() -> None:
    peer = Peer()
    to = OURS.replace("127.0.0.1:7000", "203.0.113.5:4444")
    from_ = THEIRS.replace("127.0.0.1:9000", "203.0.113.5:5555")
    assert peer.statuses(frame(b"x", "1-1/1", to=to, from_=from_)) == [b"200"]
    assert peer.messages() == [b"x"]


def test_one_session_has_one_connection() -> None:
    peer = Peer()
    peer.statuses(frame(None))
    second = MsrpConnection(peer.table)
    (answer,) = peer.type(frame(b"x", key="tid2"), second)
    assert answer.head["status"] == b"506"
    assert not second.sessions
    assert not second.attach(peer.session, 0.0)
    with pytest.raises(LocalProtocolError):
        peer.table.add(peer.session)
    peer.connection.connection_lost("gone")
    (answer,) = peer.type(frame(b"x", key="tid3"), second)
    assert answer.head["status"] in (b"481", b"506")


def test_both_sides_think_that_they_are_active() -> None:
    peer = Peer(active=True)
    assert peer.connection.attach(peer.session, 0.0)
    ours = peer.type(frame(None))
    assert [f.kind for f in ours] == ["response", "SEND"] or [f.kind for f in ours] == [
        "SEND",
        "response",
    ]
    late = MsrpConnection(peer.table)
    assert not late.attach(peer.session, 0.0)


def test_a_peer_whose_answer_is_still_on_its_way() -> None:
    peer = Peer(remote="")
    assert peer.statuses(frame(b"early", "1-5/5")) == [b"200"]
    assert peer.messages() == [b"early"]
    assert str(peer.session.remote_path[-1]) == THEIRS
    peer.session.send("text/plain", b"back")
    (sent,) = peer.type(b"")
    assert sent.head["to"] == THEIRS.encode()


def test_several_sessions_on_one_connection_take_turns() -> None:
    table = SessionTable()
    tokens = Tokens.deterministic(5)
    sessions = []
    connection = MsrpConnection(table)
    for i in range(3):
        path = (MsrpUri.parse(f"msrp://127.0.0.1:7000/ours{i};tcp"),)
        remote = (MsrpUri.parse(f"msrp://127.0.0.1:9000/theirs{i};tcp"),)
        session = MsrpSession(path, remote, tokens=tokens, active=True)
        table.add(session)
        assert connection.attach(session, 0.0)
        session.send("text/plain", b"x" * 10_000)
        sessions.append(session)
    assert len(table) == 3
    frames = check_stream(connection.data_to_send(0.0, 1 << 20))
    senders = [f.head["from"] for f in frames if f.body]
    assert len(set(senders[:3])) == 3
    for f in frames:
        connection.receive_data(
            b"MSRP %s 200 OK\r\nTo-Path: %s\r\nFrom-Path: %s\r\n-------%s$\r\n"
            % (f.id, f.head["from"] or b"", f.head["to"] or b"", f.id),
            1.0,
        )
    assert all(session.settled for session in sessions)
    assert connection.next_timer() is None


@pytest.mark.parametrize("status", [b"481 No Such Session", b"506 Bound", b"481"])
def test_a_session_that_the_peer_does_not_know_is_over(status: bytes) -> None:
    peer = Peer(active=True)
    peer.connection.attach(peer.session, 0.0)
    key = peer.session.send("text/plain", b"x")
    first = peer.type(b"")[0]
    back = f"To-Path: {OURS}\r\nFrom-Path: {THEIRS}\r\n".encode()
    peer.type(
        b"MSRP " + first.id + b" " + status + b"\r\n" + back + b"-------" + first.id + b"$\r\n"
    )
    fault, failed = peer.events()
    assert isinstance(fault, ProtocolFault)
    assert isinstance(failed, MessageFailed)
    assert (fault.status, failed.message_id, failed.status) == (int(status[:3]), key, fault.status)
    assert peer.session.closed


def test_answers_and_reports_that_nobody_waits_for() -> None:
    peer = Peer()
    peer.statuses(frame(None))
    back = f"To-Path: {OURS}\r\nFrom-Path: {THEIRS}\r\n".encode()
    peer.events()
    for data in (
        b"MSRP zzzz 200 OK\r\n" + back + b"-------zzzz$\r\n",
        b"MSRP zzzz 413\r\n" + back + b"-------zzzz$\r\n",
        frame(None, "1-1/1", method="REPORT", more="Status: 000 200 OK\r\n"),
        frame(None, "1-1/1", method="REPORT", to="msrp://127.0.0.1:7000/guess;tcp"),
        frame(b"with a body", "1-1/1", method="REPORT"),
        frame(b"x" * 9999, "1-1/1", method="REPORT"),
    ):
        assert peer.type(data) == []
    assert peer.events() == []


def reports(peer: Peer, key: str, *spans: tuple[str, str]) -> list[object]:
    for span, status in spans:
        peer.type(
            frame(
                None,
                span,
                method="REPORT",
                message=key,
                more=f"Status: {status}\r\n" * bool(status),
            )
        )
    return [e for e in peer.events() if isinstance(e, SuccessReported | MessageFailed)]


def sent(peer: Peer, **options: object) -> str:
    peer.statuses(frame(None))
    key = peer.session.send("text/plain", b"x" * 100, **options)  # type: ignore[arg-type]
    (chunk,) = peer.type(b"")
    back = f"To-Path: {OURS}\r\nFrom-Path: {THEIRS}\r\n".encode()
    peer.type(b"MSRP " + chunk.id + b" 200 OK\r\n" + back + b"-------" + chunk.id + b"$\r\n")
    return key


def test_success_reports_have_to_cover_the_message() -> None:
    peer = Peer()
    key = sent(peer, success_report=True)
    ok = "000 200 OK"
    assert reports(peer, key, ("1-40/100", ok), ("41-99/100", ok), ("1-40/100", ok)) == []
    assert reports(peer, key, ("100-102/102", ok)) == [SuccessReported(key)]
    assert reports(peer, key, ("1-100/100", ok)) == []
    other = sent(peer, success_report=True)
    assert reports(peer, other, ("1-*/100", "000 200")) == [SuccessReported(other)]
    unasked = sent(peer)
    assert reports(peer, unasked, ("1-100/100", ok)) == []


def test_reports_in_too_many_pieces_are_ignored() -> None:
    peer = Peer()
    peer.statuses(frame(None))
    key = peer.session.send("text/plain", b"x" * 5000, success_report=True)
    peer.type(b"")
    ok = "000 200 OK"
    holes = [(f"{i * 4 + 1}-{i * 4 + 1}/5000", ok) for i in range(1100)]
    assert reports(peer, key, *holes) == []
    assert peer.connection.next_event() is None
    assert reports(peer, key, ("1-5000/5000", ok)) == [SuccessReported(key)]


def test_a_failure_may_be_reported_after_the_200() -> None:
    peer = Peer()
    key = sent(peer)
    bad = reports(peer, key, ("1-100/100", "000 408 Downstream"))
    assert bad == [MessageFailed(key, 408, "Downstream")]
    assert reports(peer, key, ("1-100/100", "000 413")) == []
    key = sent(peer, success_report=True)
    assert reports(peer, key, ("nonsense", "000 200 OK"), ("1-100/100", "nonsense")) == []
    assert reports(peer, key, ("1-100/100", "")) == []
    assert reports(peer, key, ("1-100/100", "001 200 OK")) == [MessageFailed(key, 400, "OK")]


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        (frame(None).replace(b"Message-ID", b"Message ID"), True),
        (frame(None).replace(b"mid1\r\n", b"mid1\nX: y\r\n"), False),
        (b"GET / HTTP/1.0\r\n\r\n", False),
    ],
)
def test_what_is_no_msrp_is_answered_where_it_can_be_and_closed(
    data: bytes, answered: bool
) -> None:
    peer = Peer()
    got = peer.statuses(data)
    assert got == ([b"400"] if answered else [])
    assert isinstance(peer.connection.next_event(), CloseConnection)


def test_requests_that_cannot_be_served_do_not_pile_up() -> None:
    peer = Peer()
    peer.statuses(frame(None))
    flood = frame(b"x", to="msrp://127.0.0.1:7000/guess;tcp") * 3000
    peer.connection.receive_data(flood, 0.0)
    assert isinstance(peer.connection.next_event(), CloseConnection)
    assert len(check_stream(peer.connection.data_to_send(0.0, 1 << 30))) <= 1024


def test_answers_that_nobody_reads_do_not_pile_up() -> None:
    peer = Peer()
    block = b"".join(frame(b"x", key=f"t{i:04}", message=f"m{i:04}") for i in range(1000))
    for _ in range(8):
        peer.connection.receive_data(block, 0.0)
    assert peer.connection.next_event() is None
    peer.connection.receive_data(block, 0.0)
    assert isinstance(peer.connection.next_event(), CloseConnection)


def test_a_streamed_file_in_one_endless_chunk() -> None:
    peer = Peer(stream_incoming=True)
    head = frame(b"", "1-*/10485760").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    block = b"\r\n------" + b"z" * 8184
    peer.connection.receive_data(head, 0.0)
    size = 0
    for _ in range(1280):
        peer.connection.receive_data(block, 0.0)
        for event in peer.events():
            if isinstance(event, BodyReceived):
                assert event.offset == size
                size += len(event.data)
    peer.connection.receive_data(b"\r\n-------tid1$\r\n", 0.0)
    assert peer.events()[-1] == BodyComplete("mid1", "text/plain", 1280 * len(block))


def test_forgotten_in_the_middle_of_a_chunk() -> None:
    peer = Peer(stream_incoming=True)
    peer.connection.receive_data(frame(b"x" * 9000, "1-*/9000")[:5000], 0.0)
    peer.table.remove(peer.session)
    peer.connection.receive_data(frame(b"x" * 9000, "1-*/9000")[5000:], 0.0)
    assert peer.connection.sessions == ()


@pytest.mark.parametrize("at_most", [1, 2, 5, None])
def test_what_is_kept_is_dealt_with_a_few_frames_at_a_time(at_most: int | None) -> None:
    peer = Peer()
    data = b"".join(_text(number) for number in range(9))
    peer.connection.keep_data(data[:1000])
    peer.connection.keep_data(data[1000:])
    assert peer.connection.behind
    assert peer.messages() == []
    heard: list[bytes] = []
    while peer.connection.behind:
        peer.connection.receive_more(0.0, at_most)
        some = peer.messages()
        assert at_most is None or len(some) <= at_most
        heard += some
    assert heard == [b"number %d" % number for number in range(9)]
    assert len(check_stream(peer.connection.data_to_send(0.0, 1 << 20))) == 9


def _text(number: int) -> bytes:
    return (
        f"MSRP id{number:04} SEND\r\nTo-Path: {OURS}\r\nFrom-Path: {THEIRS}\r\n"
        f"Message-ID: m{number}\r\nByte-Range: 1-8/8\r\nContent-Type: text/plain\r\n\r\n"
        f"number {number}\r\n-------id{number:04}$\r\n"
    ).encode()
