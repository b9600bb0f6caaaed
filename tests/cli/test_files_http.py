"""Files by way of the content server of `rcsops start`, sent and fetched by processes (RCC.07)."""

import asyncio
import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rcsops import Agent
from rcsops.testing.waiting import free_port
from tests.cli.chatting import Lab
from tests.cli.test_scripts import listening, rcsops, send, sent


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    settings = f'[content]\nlisten = "http:127.0.0.1:{free_port("127.0.0.1")}"\n'
    with Lab(tmp_path_factory.mktemp("http"), settings=settings) as lab:
        yield lab


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    path.write_bytes(os.urandom(300_000))
    return path


def test_a_file_waits_for_who_is_away(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")

    done = sent(lab, alex, bob, "--file", str(photo))
    assert (done["status"], done["way"]) == ("stored", "http")

    with listening(lab, bob, "--json", "--files", str(tmp_path / "got")) as listener:
        listener.sees("file-received")
        assert listener.end() == 0
    told = {each["event"]: each for each in listener.messages}
    assert told["message"]["text"].startswith("beach.jpg (image/jpeg, 300000 octets, until ")
    assert (tmp_path / "got" / "beach.jpg").read_bytes() == photo.read_bytes()
    assert [each.name for each in (tmp_path / "got").iterdir()] == ["beach.jpg"]

    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["path"] == str(tmp_path / "got" / "beach.jpg")


async def test_a_file_for_who_has_just_left_waits_as_well(lab: Lab, photo: Path) -> None:
    """The device that was there a moment ago fetched no files from a content server."""
    alex, bob = lab.users("alex", "bob")
    async with Agent(
        f"sip:{bob}@rcs.example", server=lab.server.address, password=f"secret of {bob}"
    ) as device:
        await device.register()
        asked = await asyncio.to_thread(rcsops, lab, "capabilities", alex, bob, "--json")
        assert asked.code == 0
        assert "file-transfer-http" not in asked.out
    done = sent(lab, alex, bob, "--file", str(photo))
    assert (done["status"], done["way"]) == ("stored", "http")


def test_a_listener_that_counts_ends_when_the_last_file_is_there(
    lab: Lab, photo: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    # So large that it cannot be fetched in the moment that a process takes to end.
    photo.write_bytes(os.urandom(30_000_000))
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    with listening(
        lab, bob, "--json", "--files", str(tmp_path / "got"), "--count", "1"
    ) as listener:
        assert listener.ended() == 0
    assert [each["event"] for each in listener.messages] == ["message", "file-received"]
    assert (tmp_path / "got" / "beach.jpg").read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("refused_by", ["rules", "directory"])
def test_a_listener_that_counts_waits_for_no_file_that_it_refuses(
    lab: Lab, photo: Path, tmp_path: Path, refused_by: str
) -> None:
    alex, bob = lab.users("alex", "bob")
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    words, rules = [], {}
    if refused_by == "rules":
        words = ["--files", str(tmp_path / "got")]
        rules = {"RCSOPS_FILES_RULES": "refuse type=image/*"}
    with listening(lab, bob, "--json", *words, "--count", "1", **rules) as listener:
        assert listener.ended() == 0
    assert [each["event"] for each in listener.messages] == ["message"]


def test_a_file_of_who_is_there_is_receipted(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob, "--files", str(tmp_path / "got")) as listener:
        done = send(lab, alex, bob, "--file", str(photo), "--via", "http", "--wait", "delivered")
        assert (done.code, done.out.strip()) == (0, f"delivered to {bob}"), done.err
        listener.sees("received beach.jpg")
    assert (tmp_path / "got" / "beach.jpg").read_bytes() == photo.read_bytes()


def test_a_file_goes_over_msrp_when_that_is_wished(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob, "--files", str(tmp_path / "got")) as listener:
        done = sent(lab, alex, bob, "--file", str(photo), "--via", "msrp")
        assert (done["status"], done["way"]) == ("delivered", "session")
        listener.sees("received beach.jpg")


def test_what_our_rules_refuse_is_not_fetched(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    rules = {"RCSOPS_FILES_RULES": "refuse type=image/*"}
    with listening(lab, bob, "--files", str(tmp_path / "got"), **rules) as listener:
        assert sent(lab, alex, bob, "--file", str(photo))["done"]
        listener.sees("beach.jpg (image/jpeg")
        assert listener.end() == 0
    assert not (tmp_path / "got").exists() or not list((tmp_path / "got").iterdir())


def test_the_tag_of_files_over_http_is_told(lab: Lab) -> None:
    alex, bob = lab.users("alex", "bob")
    with listening(lab, bob):
        known = json.loads(rcsops(lab, "capabilities", bob, "--as", alex, "--json").out)
    assert known["services"]["file_transfer_http"] is True


def test_a_chat_sends_its_files_by_the_content_server(
    lab: Lab, photo: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob, "--files", str(tmp_path / "got")) as peer, lab.start(alex, bob) as chat:
        chat.wait("session")
        chat.type(f"/send {photo}")
        assert chat.wait("file-offering", name="beach.jpg")["via"] == "http"
        told = chat.wait("file-uploaded", name="beach.jpg")
        assert peer.wait("message", message_id=told["message_id"])["pager"] is False
        came = peer.wait("file-received", name="beach.jpg")
        assert Path(came["path"]).read_bytes() == photo.read_bytes()
        chat.wait("status", status="delivered", message_id=told["message_id"])


def test_a_chat_sends_a_file_to_who_is_away(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    done = lab.run(alex, bob, "--json", stdin=f"/send {photo}\n")
    (told,) = done.of("file-uploaded")
    assert told["message_id"] in {each["message_id"] for each in done.of("status")}
    with lab.start(bob, "--files", str(tmp_path / "got")) as peer:
        came = peer.wait("file-received", name="beach.jpg")
        assert Path(came["path"]).read_bytes() == photo.read_bytes()


def test_what_is_too_long_for_a_message_goes_in_a_session(
    lab: Lab, photo: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    # In XML each of these has five octets: the document alone has more than 1300.
    path = photo.rename(tmp_path / f"{'&' * 190}.jpg")
    trace = tmp_path / "trace.jsonl"
    with listening(lab, bob, "--files", str(tmp_path / "got")) as listener:
        words = ("--file", str(path), "--wait", "delivered", "--trace", str(trace))
        assert sent(lab, alex, bob, *words)["way"] == "http"
        listener.sees("received ")
        assert listener.end() == 0
    (got,) = (tmp_path / "got").iterdir()
    assert (got.name, got.read_bytes()) == (path.name, path.read_bytes())
    said = trace.read_text()
    assert "INVITE sip:" in said and "rcs-ft-http+xml" in said and "MESSAGE sip:" not in said
    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["name"] == path.name


def test_what_is_too_long_waits_for_who_is_away(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    path = photo.rename(tmp_path / f"{'&' * 190}.jpg")
    assert sent(lab, alex, bob, "--file", str(path))["status"] == "stored"
    with listening(lab, bob, "--files", str(tmp_path / "got")) as listener:
        listener.sees("received ")
        assert listener.end() == 0
    (got,) = (tmp_path / "got").iterdir()
    assert got.read_bytes() == path.read_bytes()


# --- offers that wait for an answer --------------------------------------------------------------


def asked(lab: Lab, alex: str, bob: str, photo: Path) -> None:
    """Bob's chat is asked whether to take a file, and killed before he answers."""
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    with lab.waiting(bob, "--ask") as chat:
        assert chat.wait("file-offered", name=photo.name)["waits"] is True
        chat.kill()


def test_an_offer_waits_again_in_the_next_chat_and_is_accepted(
    lab: Lab, photo: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    asked(lab, alex, bob, photo)
    got = tmp_path / "got"
    with lab.waiting(bob, "--files", str(got)) as chat:
        chat.type("/files")
        (listed,) = chat.wait("files")["offers"]
        assert (listed["name"], listed["size"], listed["number"]) == ("beach.jpg", 300_000, 1)
        chat.type("/accept")
        came = chat.wait("file-received", name="beach.jpg")
        assert chat.finish() == 0
    assert Path(came["path"]).read_bytes() == photo.read_bytes()
    assert [each["number"] for each in chat.notices if each["event"] == "file-offered"] == [1]
    (kept,) = json.loads(rcsops(lab, "history", bob, "--json").out)["messages"]
    assert kept["file"]["path"] == came["path"]
    not_asked(lab, bob)


def test_an_offer_that_could_not_be_taken_waits_on(lab: Lab, photo: Path, tmp_path: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    asked(lab, alex, bob, photo)
    got = tmp_path / "got"
    with lab.waiting(bob, "--files", str(got)) as chat:
        got.write_text("in the way")
        chat.type("/accept")
        failed = chat.wait("error", transfer_id=chat.wait("file-accepted")["transfer_id"])
        assert "not received" in failed["error"]
        assert failed["error"].endswith("; /accept or /decline")
        got.unlink()
        chat.type("/accept")
        came = chat.wait("file-received", name="beach.jpg")
        # Something has failed.
        assert chat.finish() == 1
    assert Path(came["path"]).read_bytes() == photo.read_bytes()
    not_asked(lab, bob)


def not_asked(lab: Lab, user: str) -> None:
    with lab.waiting(user) as chat:
        chat.type("/files", "/accept")
        assert chat.wait("files")["offers"] == []
        assert chat.wait("error")["error"] == "nobody waits for your answer"
        events = {each["event"] for each in chat.notices}
    assert not events & {"file-offered", "file-expired"}


def test_an_offer_that_is_declined_after_a_restart_is_not_made_again(lab: Lab, photo: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    asked(lab, alex, bob, photo)
    with lab.waiting(bob) as chat:
        chat.type("/decline")
        assert chat.wait("declined")["name"] == "beach.jpg"
        assert chat.finish() == 0
    not_asked(lab, bob)


def test_an_offer_that_is_accepted_before_the_kill_is_not_made_again(
    lab: Lab, photo: Path, tmp_path: Path
) -> None:
    alex, bob = lab.users("alex", "bob")
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    with lab.waiting(bob, "--ask", "--files", str(tmp_path / "got")) as chat:
        chat.wait("file-offered")
        chat.type("/accept")
        chat.wait("file-received", name="beach.jpg")
        chat.kill()
    not_asked(lab, bob)


def test_an_offer_whose_file_has_expired_says_so_once(lab: Lab, photo: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    asked(lab, alex, bob, photo)
    history = lab.project.agent_dir(f"{bob}@rcs.example") / "history.db"
    with closing(sqlite3.connect(history, isolation_level=None)) as connection:
        (text,) = connection.execute("SELECT text FROM message").fetchone()
        text = re.sub(r"until [0-9-]+ [0-9:]+ UTC", "until 2026-01-02 03:04 UTC", text)
        connection.execute("UPDATE message SET text = ?", (text,))
    with lab.waiting(bob) as chat:
        chat.type("/files", "/accept")
        assert chat.wait("files")["offers"] == []
        told = next(each for each in chat.notices if each["event"] == "file-expired")
        assert told["reason"].endswith("the file was kept until 2026-01-02 03:04 UTC")
        assert chat.wait("error")["error"] == "nobody waits for your answer"
    not_asked(lab, bob)


def test_an_offer_is_one_of_two_chats_at_a_time(lab: Lab, photo: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    with lab.waiting(bob, "--ask") as chat:
        chat.wait("file-offered")
        # Another process of the user's, beside the one that asks.
        not_asked(lab, bob)
        chat.kill()
    with lab.waiting(bob) as chat:
        chat.type("/files")
        assert len(chat.wait("files")["offers"]) == 1


def test_what_a_listener_cannot_ask_about_waits_for_the_next_chat(lab: Lab, photo: Path) -> None:
    alex, bob = lab.users("alex", "bob")
    assert sent(lab, alex, bob, "--file", str(photo))["status"] == "stored"
    with listening(lab, bob) as listener:
        listener.sees("beach.jpg (image/jpeg")
        assert listener.end() == 0
    with lab.terminal(bob) as chat:
        chat.sees("sends beach.jpg (300.0 kB): /accept or /decline")
        chat.type("/files")
        chat.sees(f"beach.jpg from {alex} (300.0 kB) waits for your answer: /accept 1")
        chat.type("/decline")
        chat.sees("declined")
