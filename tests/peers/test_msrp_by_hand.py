"""``rcsops chat`` beside a peer that shares no code with it: chunks, reports, errors (RFC 4975)."""

import contextlib
import hashlib
import re
import secrets
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.chatting import ChatProcess, Lab
from tests.cli.test_scripts import sent
from tests.peers.msrp_by_hand import MsrpByHand, cpim, text_of
from tests.peers.sip_by_hand import Dialog, Message, SipByHand

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


TEXT = b"Content-Type: text/plain;charset=UTF-8"
FAILURES = "positive-delivery, negative-delivery"
REQUIRES = "NS: vital <urn:example:vital>\r\nRequire: vital.Seal\r\nvital.Seal: unbroken\r\n"


class Scene:
    """bob is ``rcsops chat``, alex a peer made by hand, who are in a session."""

    def __init__(self, lab: Lab, bob: ChatProcess, sip: SipByHand, msrp: MsrpByHand) -> None:
        self.lab, self.bob, self.sip, self.msrp = lab, bob, sip, msrp
        self.dialog: Dialog | None = None

    def say(self, text: str) -> str:
        """A whole text in one chunk; the Message-ID of MSRP."""
        name = secrets.token_hex(8)
        body = cpim(text.encode(), secrets.token_hex(8))
        self.msrp.chunk(name, body, 1, len(body), end=len(body), flag="$")
        return name


@contextmanager
def called(lab: Lab, setup: str = "active") -> Iterator[Scene]:
    """alex calls bob; ``setup`` is alex's part: active connects."""
    alex, bob = lab.users("alex", "bob")
    with (
        lab.waiting(bob) as chat,
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
        MsrpByHand() as msrp,
    ):
        sip.register()
        scene = Scene(lab, chat, sip, msrp)
        offer = msrp.sdp(setup)
        scene.dialog, answer = sip.invite(f"sip:{bob}@rcs.example", offer)
        assert scene.dialog is not None, answer.first
        msrp.learn(answer.body)
        if setup == "active":
            assert b"a=setup:passive" in answer.body
            msrp.connect()
        else:
            assert b"a=setup:active" in answer.body
            first = msrp.accept()
            assert (first.method, first.body) == ("SEND", None)
        chat.wait("session")
        yield scene


def test_nothing_of_ours_is_in_the_peer() -> None:
    for name in ("sip_by_hand", "msrp_by_hand"):
        source = Path(sys.modules[f"tests.peers.{name}"].__file__ or "").read_text("utf-8")
        assert not re.search(r"^\s*(?:from|import) (?:rcsops|tests)", source, re.MULTILINE)


@pytest.mark.rfc("4975", "5.4", "7.1", "7.2")
@pytest.mark.parametrize("setup", ["active", "passive"])
def test_a_text_each_way_with_its_delivery_notification(lab: Lab, setup: str) -> None:
    with called(lab, setup) as scene:
        body = cpim("grüß dich 🙂".encode(), "imdn0001")
        name = scene.msrp.chunk("m0001", body, 1, len(body), end=len(body), flag="$")
        assert scene.msrp.answer(name).status == 200
        scene.bob.wait("message", text="grüß dich 🙂")
        notification = scene.msrp.message()
        assert notification.content_type == "message/cpim"
        assert b"<message-id>imdn0001</message-id>" in notification.body
        assert b"<delivered" in notification.body
        scene.bob.say("and you")
        text = scene.msrp.message()
        assert text_of(text.body) == b"and you"
        assert b"positive-delivery" in text.body
        scene.bob.wait("status", status="sent")
        assert scene.dialog is not None
        scene.sip.bye(scene.dialog)
        scene.bob.wait("session-ended", by_peer=True)


@pytest.mark.rfc("4975", "5.1", "7.3.1")
def test_chunks_out_of_order_and_interleaved_are_put_together(lab: Lab) -> None:
    with called(lab) as scene:
        text = "".join(f"line {n} of a long text\n" for n in range(2000)).strip()
        body = cpim(text.encode(), "imdnlong")
        size, step = len(body), 7001
        starts = list(range(1, size + 1, step))
        # The last chunk goes last (its flag ends the message); those before it backwards.
        for start in [*reversed(starts[:-1]), starts[-1]]:
            flag = "$" if start == starts[-1] else "+"
            data = body[start - 1 : start - 1 + step]
            scene.msrp.chunk("mlong", data, start, size, flag=flag)
            if start == starts[2]:
                scene.say("in between")
        received = [scene.bob.wait("message")["text"] for _ in range(2)]
        assert received == ["in between", text]


@pytest.mark.rfc("4975", "7.1")
def test_octets_come_one_by_one_and_many_at_once(lab: Lab) -> None:
    with called(lab) as scene:
        body = cpim(b"slowly", "imdnslow")
        headers = ["Message-ID: mslow", f"Byte-Range: 1-{len(body)}/{len(body)}"]
        headers.append("Content-Type: message/cpim")
        _, data = scene.msrp.frame("SEND", headers, body)
        for octet in data:
            scene.msrp.write(bytes([octet]))
        scene.bob.wait("message", text="slowly")
        frames = b""
        for n in range(200):
            body = cpim(b"number %d" % n, f"imdn{n:05}")
            headers = [f"Message-ID: many{n:04}", f"Byte-Range: 1-*/{len(body)}"]
            headers.append("Content-Type: message/cpim")
            frames += scene.msrp.frame("SEND", headers, body)[1]
        scene.msrp.write(frames)
        for n in range(200):
            assert scene.bob.wait("message")["text"] == f"number {n}"


@pytest.mark.rfc("4975", "7.1")
def test_an_end_line_of_another_frame_within_the_body_ends_nothing(lab: Lab) -> None:
    with called(lab) as scene:
        text = "-------0123456789abcdef$\r\nMSRP 0123456789abcdef 200 OK\r\n-------x+\r\nend"
        scene.say(text)
        message = scene.bob.wait("message")
        assert message["text"].replace("\r\n", "\n") == text.replace("\r\n", "\n")
        assert b"<delivered" in scene.msrp.message().body
        scene.bob.say("-------abc$\n-------")
        assert text_of(scene.msrp.message().body) == b"-------abc$\n-------"


@pytest.mark.rfc("4975", "7.1.2", "7.2")
def test_reports_are_sent_as_they_are_asked_for(lab: Lab) -> None:
    with called(lab) as scene:
        msrp = scene.msrp
        body = cpim(b"with a report", "imdnrep1", "display")
        half = len(body) // 2
        wanted = ("Success-Report: yes", "Failure-Report: yes")
        first = msrp.chunk("mreport", body[:half], 1, len(body), more=wanted)
        second = msrp.chunk("mreport", body[half:], half + 1, len(body), more=wanted, flag="$")
        frames = [msrp.receive() for _ in range(3)]
        assert {f.transaction for f in frames if f.status == 200} == {first, second}
        reports = [f for f in frames if f.method == "REPORT"]
        assert len(reports) == 1 and reports[0].body is None
        assert reports[0].get("Message-ID") == "mreport"
        assert reports[0].get("Status").startswith("000 200")
        assert reports[0].get("Byte-Range") == f"1-{len(body)}/{len(body)}"
        # Neither a 200 nor a report for who wants none.
        for value in ("no", "partial"):
            body = cpim(b"silently " + value.encode(), f"imdn{value}", "display")
            more = (f"Failure-Report: {value}",)
            msrp.chunk(f"mm{value}", body, 1, len(body), more=more, flag="$")
            scene.bob.wait("message", text=f"silently {value}")
        assert msrp.silent(0.5)


@pytest.mark.rfc("4975", "7.2", "7.3")
def test_what_is_wrong_is_answered_with_its_code(lab: Lab) -> None:
    with called(lab) as scene:
        msrp = scene.msrp
        name = msrp.send("LISTEN", ["Message-ID: mm501"])
        assert msrp.answer(name).status == 501
        # Of a type that was not offered.
        headers = ["Message-ID: mm415", "Byte-Range: 1-2/2", "Content-Type: video/x-none"]
        assert msrp.answer(msrp.send("SEND", headers, b"hi")).status == 415
        # Larger than its max-size, by its own word.
        name = msrp.chunk("mm413", b"x" * 100, 1, 1 << 40)
        assert msrp.answer(name).status == 413
        # For a session that is not there.
        other = re.sub(r"/[^/;]+;tcp", "/0000000000000000;tcp", msrp.remote)
        name = msrp.send("SEND", ["Message-ID: mm481"], to=other)
        assert msrp.answer(name).status == 481
        # A second connection for the same session.
        with msrp.open() as second:
            name, data = msrp.frame("SEND", ["Message-ID: mm506"])
            second.sendall(data)
            assert second.recv(4096).startswith(f"MSRP {name} 506 ".encode())
        # And after all this the session is as it was.
        scene.say("still here")
        scene.bob.wait("message", text="still here")


@pytest.mark.rfc("4975", "7.1.1", "7.3.1")
@pytest.mark.rfc("3862", "3.5", "4.7")
@pytest.mark.rfc("5438", "7.2.1")
def test_what_requires_more_than_is_known_is_not_shown(lab: Lab) -> None:
    with called(lab) as scene:
        msrp = scene.msrp
        body = cpim(b"only if sealed", "imdnseal1", f"{FAILURES}, display", REQUIRES)
        assert msrp.answer(msrp.chunk("mseal1", body, 1, len(body), flag="$")).status == 200
        report = msrp.message()
        assert b"<message-id>imdnseal1</message-id>" in report.body
        assert b"<delivery-notification><status><failed/></status>" in report.body
        told = scene.bob.wait("not-read", message_id="imdnseal1")
        assert told["reason"] == "it requires vital.Seal, which is not known here"
        # Who wants to hear of what arrives hears nothing.
        body = cpim(b"sealed as well", "imdnseal2", "positive-delivery, display", REQUIRES)
        assert msrp.answer(msrp.chunk("mseal2", body, 1, len(body), flag="$")).status == 200
        scene.bob.wait("not-read", message_id="imdnseal2")
        assert msrp.silent(0.5)
        known = "Require: DateTime, imdn.Message-ID\r\n"
        body = cpim(b"dated", "imdnseal4", "positive-delivery", known)
        msrp.chunk("mseal4", body, 1, len(body), flag="$")
        scene.bob.wait("message", text="dated")
        bob = scene.bob.user
        assert [each["text"] for each in lab.history(bob)] == ["dated"]


@pytest.mark.rfc("3862", "5.2")
def test_what_is_signed_is_not_read(lab: Lab) -> None:
    """Nothing here checks signatures."""
    example = (Path(__file__).parents[1] / "corpus" / "rcs" / "cpim-signed.bin").read_bytes()
    boundary, _, body = example.partition(b"\n")
    kind = (
        f"multipart/signed;boundary={boundary.decode()};micalg=sha1;"
        "protocol=application/pkcs7-signature"
    )
    with called(lab) as scene:
        msrp = scene.msrp
        size = len(body)
        headers = ["Message-ID: msigned1", f"Byte-Range: 1-{size}/{size}", f"Content-Type: {kind}"]
        assert msrp.answer(msrp.send("SEND", headers, body)).status == 415
        bob = scene.bob.user
        answer = scene.sip.ask("MESSAGE", f"sip:{bob}@rcs.example", [f"Content-Type: {kind}"], body)
        assert (answer.status, "message/cpim" in answer.get("Accept")) == (415, True)
        # Within what is read, it is not shown, and who wants to know is told.
        body = cpim(body, "imdnsigned", FAILURES).replace(TEXT, f"Content-Type: {kind}".encode())
        assert msrp.answer(msrp.chunk("msigned2", body, 1, len(body), flag="$")).status == 200
        report = msrp.message()
        assert b"<message-id>imdnsigned</message-id>" in report.body
        assert b"<status><failed/></status>" in report.body
        assert lab.history(bob) == []


@pytest.mark.rfc("3862", "3.5", "4.7")
def test_what_requires_more_than_is_known_is_refused_without_a_session(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with (
        lab.waiting(bob) as chat,
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
    ):
        sip.register()

        def write(body: bytes) -> Message:
            return sip.ask(
                "MESSAGE", f"sip:{bob}@rcs.example", ["Content-Type: message/cpim"], body
            )

        assert write(cpim(b"sealed", "imdnseal1", "positive-delivery", REQUIRES)).status == 488
        told = chat.wait("not-read", message_id="imdnseal1")
        assert told["reason"] == "it requires vital.Seal, which is not known here"
        # A notification says it better: it also finds who has left.
        assert write(cpim(b"sealed", "imdnseal2", FAILURES, REQUIRES)).status == 200
        report = sip.take_message()
        assert b"<message-id>imdnseal2</message-id>" in report.body
        assert b"<delivery-notification><status><failed/></status>" in report.body
        assert write(cpim(b"open", "imdnseal3")).status == 200
        chat.wait("message", text="open")
        assert [each["text"] for each in lab.history(bob)] == ["open"]
        # What others send is no failure of ours.
        assert chat.finish() == 0


def test_a_message_that_is_given_up_is_never_shown(lab: Lab) -> None:
    with called(lab) as scene:
        body = cpim(b"never mind", "imdngone")
        scene.msrp.chunk("mgone", body[:60], 1, len(body))
        scene.msrp.chunk("mgone", body[60:70], 61, len(body), flag="#")
        scene.say("this one")
        assert scene.bob.wait("message")["text"] == "this one"


@pytest.mark.rfc("4975", "7.1.1")
def test_a_long_text_comes_in_chunks_that_can_be_interrupted(lab: Lab) -> None:
    with called(lab) as scene:
        text = "x" * 200_000
        scene.bob.say(text)
        whole = scene.msrp.message()
        assert text_of(whole.body).decode() == text
        position = 1
        for chunk in whole.chunks:
            start, end, total = chunk.range
            assert (start, total) == (position, str(len(whole.body)))
            assert chunk.body is not None
            position += len(chunk.body)
            # More than 2048 octets must be interruptible: their end is not promised (§7.1.1).
            assert end == "*" or (len(chunk.body) <= 2048 and int(end) == position - 1)
        assert [chunk.flag for chunk in whole.chunks] == ["+"] * (len(whole.chunks) - 1) + ["$"]
        assert len({chunk.transaction for chunk in whole.chunks}) == len(whole.chunks)


@pytest.mark.rfc("4975", "10.5")
def test_who_answers_413_gets_no_more_of_it(lab: Lab, tmp_path: Path) -> None:
    # Longer than what the kernel takes before the answer is there.
    source = tmp_path / "long.bin"
    source.write_bytes(bytes(32 << 20))
    with called(lab) as scene:
        scene.bob.type(f"/send {source}")
        with MsrpByHand() as pull:
            _, invite = scene.sip.answer(pull.sdp("passive", "a=accept-types:*\r\na=recvonly\r\n"))
            pull.learn(invite.body)
            pull.accept()
            octets = 0
            # It ends by a chunk that says so, or with the session, as that was for this file alone.
            with contextlib.suppress(EOFError, ConnectionError):
                while (chunk := pull.request()).flag == "+":
                    octets += len(chunk.body or b"")
                    pull.respond(chunk, "413 Stop")
                assert chunk.flag == "#"
            assert 0 < octets < 32 << 20
            scene.sip.take_bye()
        scene.bob.wait("file-failed")
        scene.bob.say("a short one")
        assert text_of(scene.msrp.message().body) == b"a short one"


def test_a_refusal_of_a_chunk_fails_the_message_alone(lab: Lab) -> None:
    with called(lab) as scene:
        scene.bob.say("not for me")
        scene.msrp.respond(scene.msrp.request(), "403 Forbidden")
        scene.bob.wait("status", status="failed")
        scene.bob.say("but this")
        assert text_of(scene.msrp.message().body) == b"but this"
        scene.bob.wait("status", status="sent")


def test_bob_calls(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with (
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
        MsrpByHand() as msrp,
    ):
        sip.register()
        with ChatProcess(lab, bob, alex) as chat:
            dialog, invite = sip.answer(msrp.sdp("passive"))
            assert b"a=setup:actpass" in invite.body
            assert re.search(rb"m=message \d+ TCP/MSRP \*", invite.body)
            msrp.learn(invite.body)
            first = msrp.accept()
            assert first.method == "SEND" and first.body is None
            assert first.get("To-Path") == msrp.path
            chat.wait("session")
            chat.say("hello")
            assert text_of(msrp.message().body) == b"hello"
            sip.bye(dialog)
            chat.wait("session-ended", by_peer=True)


UNREACHED = 'Reason: SIP;cause=503;text="MSRP connect failed"'


@pytest.mark.parametrize("tells", [True, False], ids=["it says so", "it is silent"])
def test_a_text_for_a_peer_that_cannot_connect_to_us_goes_without_a_session(
    lab: Lab, tells: bool
) -> None:
    """It answers that it connects, as most phones do, and nothing comes of it."""
    alex, bob = lab.users("alex", "bob")
    with (
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
        MsrpByHand() as msrp,
        ChatProcess(lab, bob) as chat,
    ):
        sip.register()
        chat.wait("registered")
        chat.type(f"/invite {alex}")
        chat.say("all the same")
        dialog, _ = sip.answer(msrp.sdp("active"))
        answered = time.monotonic()
        if tells:
            sip.bye(dialog, UNREACHED)
        else:
            sip.patience(20)
            bye = sip.take_bye()
            assert bye.get("Reason") == UNREACHED.removeprefix("Reason: ")
        assert text_of(sip.take_message().body) == b"all the same"
        assert time.monotonic() - answered < 15
        told = chat.wait("error", status=503)
        assert f"{alex} was not reached" in told["error"]
        chat.wait("pager", peer=f"sip:{alex}@rcs.example")
        chat.wait("status", status="sent", text="all the same")
        assert chat.finish() == 0


def test_what_was_written_to_a_caller_without_a_connection_goes_without_a_session(
    lab: Lab,
) -> None:
    alex, bob = lab.users("alex", "bob")
    with (
        lab.waiting(bob) as chat,
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
        MsrpByHand() as msrp,
    ):
        sip.register()
        dialog, answer = sip.invite(f"sip:{bob}@rcs.example", msrp.sdp("active"))
        assert dialog is not None, answer.first
        chat.wait("invited")
        chat.say("who is there?")
        time.sleep(0.5)
        sip.bye(dialog, UNREACHED)
        assert text_of(sip.take_message().body) == b"who is there?"
        chat.wait("pager", peer=f"sip:{alex}@rcs.example")
        chat.wait("status", status="sent", text="who is there?")


def test_a_long_text_that_no_session_takes_goes_in_a_large_message(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    text = "a long text, " * 300
    with (
        SipByHand(lab.server.address, alex, f"secret of {alex}") as sip,
        MsrpByHand() as msrp,
        ThreadPoolExecutor() as pool,
    ):
        sip.register()
        sending = pool.submit(sent, lab, bob, alex, text, "--wait", "sent")
        sip.take_options()
        dialog, _ = sip.answer(msrp.sdp("active"))
        sip.bye(dialog, UNREACHED)
        assert text_of(sip.take_message().body) == text.encode()
        assert sending.result()["status"] == "sent"


@pytest.mark.rfc("5547", "5", "8")
def test_a_file_each_way(lab: Lab, tmp_path: Path) -> None:
    content = secrets.token_bytes(300_001)
    sha1 = hashlib.sha1(content).hexdigest().upper()
    sha1 = ":".join(sha1[i : i + 2] for i in range(0, 40, 2))
    with called(lab) as scene:
        selector = (
            f'a=file-selector:name:"a file.bin" type:application/octet-stream '
            f"size:{len(content)} hash:sha-1:{sha1}\r\n"
            "a=file-transfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd\r\n"
            "a=file-disposition:attachment\r\na=sendonly\r\n"
        )
        with MsrpByHand() as push:
            offer = push.sdp("active", "a=accept-types:*\r\n" + selector)
            dialog, answer = scene.sip.invite(f"sip:{scene.bob.user}@rcs.example", offer)
            assert dialog is not None, answer.first
            assert b"a=recvonly" in answer.body and b"a=file-selector:" in answer.body
            push.learn(answer.body)
            push.connect()
            step = 64 << 10
            kind = "application/octet-stream"
            for start in range(0, len(content), step):
                data = content[start : start + step]
                flag = "+" if start + step < len(content) else "$"
                more = ("Success-Report: yes",)
                name = push.chunk("mfile", data, start + 1, len(content), kind, more, flag=flag)
                assert push.answer(name).status == 200
            report = push.request("REPORT")
            assert report.get("Status").startswith("000 200")
            received = scene.bob.wait("file-received")
            assert Path(received["path"]).read_bytes() == content
            scene.sip.bye(dialog)
        source = tmp_path / "back.bin"
        source.write_bytes(content)
        scene.bob.type(f"/send {source}")
        with MsrpByHand() as pull:
            answer_sdp = pull.sdp("passive", "a=accept-types:*\r\na=recvonly\r\n")
            _, invite = scene.sip.answer(answer_sdp)
            assert b"a=sendonly" in invite.body
            assert b"hash:sha-1:" + sha1.encode() in invite.body
            assert b'name:"back.bin"' in invite.body
            pull.learn(invite.body)
            pull.accept()
            whole = pull.message()
            assert whole.body == content
            if whole.chunks[-1].get("Success-Report") == "yes":
                size = len(content)
                headers = [
                    f"Message-ID: {whole.message_id}",
                    f"Byte-Range: 1-{size}/{size}",
                    "Status: 000 200 OK",
                ]
                pull.send("REPORT", headers)
            scene.sip.take_bye()
            scene.bob.wait("file-sent")


def test_a_file_that_is_faster_than_the_ack_is_whole(lab: Lab) -> None:
    content = secrets.token_bytes(2500)
    kind = "application/octet-stream"
    more = (
        f'a=file-selector:name:"fast.bin" type:{kind} size:{len(content)}\r\n'
        f"a=file-transfer-id:{secrets.token_hex(16)}\r\n"
        "a=file-disposition:attachment\r\na=sendonly\r\n"
    )
    with called(lab) as scene, MsrpByHand() as push:

        def send(answer: Message) -> None:
            push.learn(answer.body)
            push.connect()
            for start in (0, 1000, 2000):
                data = content[start : start + 1000]
                flag = "$" if start == 2000 else "+"
                push.chunk("mfile", data, start + 1, len(content), kind, flag=flag)
            # The ACK goes by the server.
            time.sleep(0.3)

        offer = push.sdp("active", f"a=accept-types:*\r\n{more}")
        dialog, answer = scene.sip.invite(f"sip:{scene.bob.user}@rcs.example", offer, send)
        assert dialog is not None, answer.first
        received = scene.bob.wait("file-received")
        assert Path(received["path"]).read_bytes() == content
        scene.sip.bye(dialog)


@pytest.mark.rfc("5547", "6", "8")
@pytest.mark.rfc("5621", "3.1", "8.2")
@pytest.mark.parametrize("subtype", ["related", "mixed"])
def test_an_offer_that_carries_a_picture_of_the_file(lab: Lab, subtype: str) -> None:
    """As phones send it: the picture is left aside, the file comes."""
    content = secrets.token_bytes(2500)
    kind = "image/jpeg"
    more = (
        f'a=accept-types:*\r\na=file-selector:name:"photo.jpg" type:{kind} size:{len(content)}\r\n'
        f"a=file-transfer-id:{secrets.token_hex(16)}\r\na=file-icon:cid:small@example.org\r\n"
        "a=file-disposition:attachment\r\na=sendonly\r\n"
    )
    with called(lab) as scene, MsrpByHand() as push:
        parts = (
            (b"Content-Type: application/sdp", push.sdp("active", more)),
            (
                b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: binary\r\n"
                b"Content-ID: <small@example.org>\r\nContent-Disposition: icon",
                b"\xff\xd8--not a boundary\r\n" + secrets.token_bytes(5000),
            ),
        )
        body = b"".join(b"--next\r\n%b\r\n\r\n%b\r\n" % part for part in parts) + b"--next--\r\n"
        of_what = ';type="application/sdp"' if subtype == "related" else ""
        dialog, answer = scene.sip.invite(
            f"sip:{scene.bob.user}@rcs.example",
            body,
            kind=f"multipart/{subtype}{of_what};boundary=next",
        )
        assert dialog is not None, answer.first
        push.learn(answer.body)
        push.connect()
        push.chunk("mfile", content, 1, len(content), kind, flag="$")
        received = scene.bob.wait("file-received")
        assert Path(received["path"]).read_bytes() == content
        scene.sip.bye(dialog)


@pytest.mark.rfc("5547", "8")
@pytest.mark.parametrize("answer", ["refuses", "ignores"])
def test_a_sender_that_holds_nothing_is_broken_off_by_a_pause(lab: Lab, answer: str) -> None:
    content = secrets.token_bytes(400_000)
    kind = "application/octet-stream"
    more = (
        f'a=file-selector:name:"some.bin" type:{kind} size:{len(content)}\r\n'
        f"a=file-transfer-id:{secrets.token_hex(16)}\r\n"
        "a=file-disposition:attachment\r\na=sendonly\r\n"
    )
    with called(lab) as scene, MsrpByHand() as push:
        offer = push.sdp("active", f"a=accept-types:*\r\n{more}")
        dialog, answered = scene.sip.invite(f"sip:{scene.bob.user}@rcs.example", offer)
        assert dialog is not None, answered.first
        push.learn(answered.body)
        push.connect()

        def send(start: int) -> None:
            data = content[start : start + 1000]
            push.chunk("mfile", data, start + 1, len(content), kind, flag="+")
            push.answer()

        send(0)
        scene.bob.type("/pause")
        scene.bob.wait("file-paused")
        if answer == "refuses":
            _, held = scene.sip.answer(None, "488 Not Acceptable Here")
        else:
            _, held = scene.sip.answer(offer.replace(b"a=sendonly", b"a=inactive"))
        assert b"a=inactive" in held.body
        if answer == "ignores":
            # What was on its way is taken; who goes on after that is not let.
            for start in range(1000, 100_000, 1000):
                time.sleep(0.1)
                try:
                    send(start)
                except (OSError, EOFError):
                    break
            else:
                raise AssertionError("nobody stopped it")
        bye = scene.sip.take_bye()
        assert bye.get("Reason") == 'SIP;cause=480;text="Suspended"'
        broken = scene.bob.wait("file-interrupted")
        assert 0 < broken["octets"] < len(content)
