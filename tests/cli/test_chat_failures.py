"""What goes wrong in ``rcsops chat``: each has a clear line, and the program goes on."""

import signal
from contextlib import ExitStack

import pytest

from rcsops.testing import free_port, wait_until
from tests.cli.chatting import ChatProcess, Lab, talk, timed


def goes_on(lab: Lab, chat: ChatProcess) -> None:
    """A command that follows works."""
    chat.type("/who")
    assert chat.wait("who")["user"] == f"{chat.user}@rcs.example"


def test_nobody_of_that_name(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    with lab.start(alex, "nobody") as chat:
        error = chat.wait("error")
        assert error["error"] == "nobody is not known to the server (404)"
        assert error["status"] == 404
        goes_on(lab, chat)
        assert chat.finish() == 1


def test_a_peer_that_is_not_there_and_then_is(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.start(alex, bob) as chat:
        error = chat.wait("error", status=480)
        assert error["error"] == f"{bob} is not there now (480)"
        with lab.waiting(bob) as peer:
            chat.type(f"/invite {bob}")
            talk(chat, peer)


def test_oneself(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    with lab.start(alex, alex) as chat:
        assert chat.wait("error")["error"] == "that is you"
        chat.wait("registered")
        goes_on(lab, chat)


def test_a_busy_peer(lab: Lab) -> None:
    alex, bob, carol = lab.users("alex", "bob", "carol")
    with lab.waiting(bob) as peer, lab.start(alex, bob) as chat:
        talk(chat, peer)
        with lab.start(carol, bob) as third:
            assert third.wait("error", status=486)["error"] == f"{bob} is busy (486)"
            refused = peer.wait("refused")
            assert refused["peer"] == third.address
            # An invitation of one's own while in a session.
            peer.type(f"/invite {carol}")
            error = peer.wait("error")
            assert error["error"] == f"you are in a session with {alex}"
            assert error["hint"] == "/bye ends it"
            chat.say("undisturbed")
            peer.wait("message", text="undisturbed")
            peer.type("/bye")
            chat.wait("session-ended", by_peer=True)
            third.type(f"/invite {bob}")
            talk(third, peer)


def test_a_peer_that_refuses_and_then_accepts(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer, lab.start(alex, bob) as chat:
        peer.wait("invited", peer=chat.address)
        chat.wait("progress", status=180)
        peer.type("/decline")
        peer.wait("declined")
        assert chat.wait("error", status=603)["error"] == f"{bob} declined (603)"
        chat.type(f"/invite {bob}", "in the meantime")
        peer.wait("invited")
        peer.type("/accept")
        peer.wait("message", text="in the meantime")
        chat.wait("status", status="delivered")


def test_a_file_that_is_refused(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    alex, bob = lab.users("alex", "bob")
    file = tmp_path_factory.mktemp("file") / "picture.jpg"
    file.write_bytes(b"picture")
    inbox = str(file.parent / "in")
    with lab.waiting(bob, "--ask", "--files", inbox) as peer, lab.start(alex, bob) as chat:
        peer.wait("invited")
        peer.type("/accept")
        chat.wait("session")
        peer.wait("session")
        chat.type(f"/send {file}")
        peer.wait("file-offered", name="picture.jpg", size=7)
        peer.type("/decline")
        assert "603" in chat.wait("file-failed")["reason"]
        chat.type(f"/send {file}")
        peer.wait("file-offered")
        peer.type("/accept")
        peer.wait("file-received")
        chat.wait("file-sent")
        assert chat.finish() == 1


def test_files_that_wait_are_answered_by_their_numbers(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alex, bob = lab.users("alex", "bob")
    here = tmp_path_factory.mktemp("files")
    for name in ("one.txt", "two.txt", "three.txt"):
        (here / name).write_text(name)
    inbox = here / "in"
    with lab.waiting(bob, "--ask", "--files", str(inbox)) as peer, lab.start(alex, bob) as chat:
        peer.wait("invited")
        peer.type("/accept")
        chat.wait("session")
        for name in ("one.txt", "two.txt", "three.txt"):
            chat.type(f"/send {here / name}")
            assert peer.wait("file-offered", name=name)["waits"]
        peer.type("/accept")
        error = peer.wait("error")
        assert error["error"] == "/accept which?"
        listed = f"1 one.txt from {alex}, 2 two.txt from {alex}, 3 three.txt from {alex}"
        assert error["hint"] == f"/accept N: {listed}"
        peer.type("/decline 7")
        assert peer.wait("error")["error"] == "nothing waits as 7"
        peer.type("/accept 2")
        peer.wait("file-received", name="two.txt")
        peer.type("/decline 1")
        assert "603" in chat.wait("file-failed", name="one.txt")["reason"]
        # The only one left needs no number.
        peer.type("/accept")
        peer.wait("file-received", name="three.txt")
        assert sorted(each.name for each in inbox.iterdir()) == ["three.txt", "two.txt"]


def test_an_invitation_that_is_taken_back(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--ask") as peer, lab.start(alex, bob) as chat:
        peer.wait("invited")
        chat.signal(signal.SIGINT)
        peer.wait("invite-cancelled", peer=chat.address)
        assert chat.ended() == 0
        peer.type("/accept")
        assert peer.wait("error")["error"] == "nobody waits for your answer"


def test_an_invitation_that_another_device_took(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with (
        ExitStack() as opened,
        lab.waiting(bob, "--ask") as desk,
        lab.terminal(bob, "--ask") as second_desk,
        lab.waiting(bob, "--ask") as phone,
    ):
        second_desk.sees("waiting for an invitation")
        chat = opened.enter_context(lab.start(alex, bob))
        desk.wait("invited", peer=chat.address)
        phone.wait("invited", peer=chat.address)
        second_desk.sees(f"{alex} invites you: /accept or /decline")
        phone.type("/accept")
        talk(chat, phone)
        cancelled = desk.wait("invite-cancelled", peer=chat.address)
        assert "elsewhere" in cancelled["reason"]
        second_desk.sees(f"the invitation of {alex} was answered on another device")
        desk.type("/accept")
        assert desk.wait("error")["error"] == "nobody waits for your answer"


def test_a_second_invitation_while_one_waits(lab: Lab) -> None:
    alex, bob, carol = lab.users("alex", "bob", "carol")
    with lab.waiting(bob, "--ask") as peer, lab.start(alex, bob) as chat:
        peer.wait("invited", peer=chat.address)
        with lab.start(carol, bob) as third:
            third.wait("error", status=486)
            peer.wait("refused", peer=third.address)
        peer.type("/accept")
        talk(chat, peer)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_wrong_password(lab: Lab, as_json: bool) -> None:
    (alex,) = lab.users("alex")
    words = ["nobody", "--json"] if as_json else ["nobody"]
    done = lab.run(alex, *words, environment={"RCSOPS_PASSWORD": "not the password"}, stdin="hi\n")
    assert done.code == 1
    said = f"the server {lab.server.address} refused the user name or the password"
    if as_json:
        errors = done.of("error")
        assert errors[0]["error"].startswith(said)
        assert errors[0]["status"] in (401, 403)
        assert "was not invited" in errors[1]["error"]
        assert done.notices[-1] | {"time": ""} == {
            "event": "ended",
            "time": "",
            "user": f"{alex}@rcs.example",
            "unregistered": False,
        }
    else:
        assert done.texts[0].startswith(f"! {said}")
        assert done.texts[-1] == "* good bye"
    assert "not the password" not in done.out


def test_a_password_that_was_changed_meanwhile(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    lab.forget_password(alex)
    lab.keep_password(alex, "an old one")
    with lab.start(alex) as chat:
        chat.wait("error")
        lab.keep_password(alex, f"secret of {alex}")
        chat.type("/register")
        chat.wait("registered")
        assert chat.finish() == 1


def test_no_password(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    lab.forget_password(alex)
    done = lab.run(alex)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: no password of {alex}@rcs.example is known here, and nobody is here to type it",
        f"hint: set RCSOPS_PASSWORD, or type: rcsops user passwd {alex}",
    ]
    assert done.out == ""


def test_no_such_user(lab: Lab) -> None:
    done = lab.run("zoe")
    assert done.code == 1
    assert done.err.splitlines() == [
        "error: there is no user zoe@rcs.example",
        "hint: type: rcsops user add zoe",
    ]


@pytest.mark.parametrize(
    ("transport", "reason"), [("tcp", "Connection refused"), ("udp", "nobody listens there")]
)
def test_a_server_that_is_not_there(lab: Lab, transport: str, reason: str) -> None:
    (alex,) = lab.users("alex")
    nowhere = f"127.0.0.1:{free_port()}"
    with lab.start(alex, "--server", nowhere, "--transport", transport) as chat:
        lost = chat.wait("registration-lost")
        assert lost["reason"] == f"the server {nowhere} does not answer: {reason}"
        assert lost["retry_in"] > 0
        goes_on(lab, chat)
        assert chat.finish() == 1
        assert chat.notices[-2]["unregistered"] is False


def test_a_server_whose_name_is_unknown(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    done = lab.run(alex, "--server", "no-such-host.invalid")
    assert done.code == 1
    assert any("no-such-host.invalid" in text for text in done.texts), done.out


@pytest.mark.parametrize("server", ["<", "127.0.0.1:x", ""])
def test_what_is_no_server(lab: Lab, server: str) -> None:
    (alex,) = lab.users("alex")
    done = lab.run(alex, "--server", server or "sip:")
    assert done.code == 2
    assert done.err.startswith("error: ")


def test_an_address_that_is_not_ours(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    done = lab.run(alex, "--bind", "192.0.2.1")
    assert done.code == 1
    assert done.err.startswith("error: cannot listen on 192.0.2.1")


def test_a_peer_that_vanishes_and_comes_back(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.start(bob) as peer:
        peer.wait("registered")
        with lab.start(alex, bob) as chat:
            talk(chat, peer)
            peer.kill()
            ended = chat.wait("session-ended")
            assert ended["reason"] == "connection lost"
            assert ended["by_peer"] is False
            chat.type("are you there?")
            assert chat.wait("error")["error"] == "not sent: there is no session"

            def invite() -> None:
                chat.type(f"/invite {bob}")
                chat.wait("error", status=480)

            # The server still has the contact, whose connection it knows to be gone.
            assert timed(invite) < 2
            with lab.waiting(bob) as again:
                chat.type(f"/invite {bob}")
                talk(chat, again)


def test_a_peer_that_vanishes_while_it_rings(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.start(bob, "--ask") as peer:
        peer.wait("registered")
        with lab.start(alex, bob) as chat:
            peer.wait("invited")
            chat.wait("progress", status=180)
            peer.kill()
            with lab.waiting(bob) as again:
                chat.type("/bye")
                goes_on(lab, chat)
                chat.type(f"/invite {bob}")
                talk(chat, again)


def test_a_server_that_dies_and_returns(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Lab(tmp_path_factory.mktemp("own")) as lab:
        alex, bob, carol = lab.users("alex", "bob", "carol")
        with lab.waiting(bob) as peer, lab.start(alex, bob) as chat, lab.waiting(carol) as third:
            talk(chat, peer)
            lab.server.stop()
            for each in (chat, peer):
                lost = each.wait("registration-lost")
                assert "is lost" in lost["reason"]
                lost = each.wait("registration-lost")
                assert "Connection refused" in lost["reason"]
                each.type("/who")
                assert each.wait("who")["registered"] is False
            # The session is direct.
            chat.say("still here")
            chat.wait("status", status="delivered")
            peer.wait("message", text="still here")
            lab.server.start()
            for each in (chat, peer, third):
                each.wait("registered", again=True)
            chat.type("/bye", f"/invite {carol}")
            talk(chat, third)
            chat.type("/bye", f"/invite {bob}")
            talk(chat, peer)
            # And one that has gone for good does not hold up the end.
            lab.server.stop()
            chat.wait("registration-lost")
            assert timed(chat.finish) < 6
            # The peer's server is gone as well: its BYE had to come by itself, or not at all.
            assert peer.finish() == 0
            assert third.finish() == 0


def test_the_end_waits_for_nobody_who_asks_twice(lab: Lab) -> None:
    (alex,) = lab.users("alex")
    with lab.waiting(alex) as chat, lab.paused():
        chat.signal(signal.SIGINT)
        # The second is one only when the first has been heard.
        chat.wait("ending")
        chat.signal(signal.SIGINT)
        assert timed(chat.ended) < 2
    wait_until(lambda: not lab.is_registered(alex))
