"""``rcsops history``: what chats left behind, shown, searched and exported."""

import hashlib
import json
import shlex
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rcsops.testing import wait_until
from tests.cli.chatting import Lab, talk, timed
from tests.cli.conftest import Finished, Shell
from tests.cli.test_completion import completed

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\u202eforged\n"
    '2026-01-01 00:00:00 from carol: <script>alert("x")</script> &amp;'
)
TEXTS = ("Zażółć gęślą JAŹŃ", "100% of it_all", "100 per cent", "Grüße aus der STRASSE", HOSTILE)


class Talk(NamedTuple):
    """A conversation that is over: alex wrote TEXTS to bob, and bob answered."""

    shell: Shell
    alex: str
    bob: str


def shell_of(lab: Lab, root: Path) -> Shell:
    """A shell in the lab's directory."""
    shell = Shell(root)
    shell.directory = lab.directory
    shell.environment |= lab.environment | {"TZ": "Europe/Warsaw", "NO_COLOR": "1"}
    return shell


@pytest.fixture(scope="module")
def told(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    alex, bob = lab.users("alex", "bob")
    with lab.waiting(bob) as callee, lab.start(alex, bob) as caller:
        talk(caller, callee)
        for text in TEXTS:
            caller.say(text)
            caller.wait("status", status="delivered")
            callee.wait("message", text=text)
        callee.say("an answer")
        caller.wait("message", text="an answer")
        callee.wait("status", status="delivered")
        assert caller.finish() == 0
        assert callee.finish() == 0
    # Nobody is there to take this one.
    done = lab.run(alex, bob, stdin="for later\n")
    assert "stored by the server" in done.out
    yield Talk(shell_of(lab, tmp_path_factory.mktemp("shell")), alex, bob)


def records(done: Finished) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = done.json["messages"]
    return found


def texts(done: Finished) -> list[str]:
    return [each["text"] for each in records(done)]


def test_what_was_said_is_shown_in_order_with_its_states(told: Talk) -> None:
    shell, alex, bob = told
    kept = records(shell.ok("history", alex, bob, "--json"))
    assert [each["text"] for each in kept] == [
        f"{alex} is here", f"{bob} is here", *TEXTS, "an answer", "for later"
    ]  # fmt: skip
    assert [each["status"] for each in kept] == [
        "delivered", "received", *["delivered"] * len(TEXTS), "received", "stored"
    ]  # fmt: skip
    assert {each["peer"] for each in kept} == {f"sip:{bob}@rcs.example"}
    assert [each["id"] for each in kept] == sorted(each["id"] for each in kept)
    assert all(each["time"].endswith(("+01:00", "+02:00")) for each in kept)
    # The peer has the same under the same identities, the other way round.
    other = records(shell.ok("history", bob, "--json"))
    assert [each["message_id"] for each in other] == [each["message_id"] for each in kept[:-1]]
    assert [each["direction"] for each in other[:2]] == ["in", "out"]


def test_each_message_has_the_time_of_each_of_its_states(told: Talk) -> None:
    shell, alex, bob = told
    kept = records(shell.ok("history", alex, bob, "--json"))
    assert list(kept[0]["times"]) == ["queued", "sent", "delivered"]
    assert list(kept[-1]["times"]) == ["queued", "stored"]
    for each in kept:
        moments = list(each["times"].values())
        assert moments[0] == each["time"]
        assert moments == sorted(moments)
    clock = [moment[11:19] for moment in kept[0]["times"].values()]
    shown = shell.ok("history", alex, bob, "--times").lines[0]
    assert shown.endswith(
        f" to {bob} [queued {clock[0]}, sent {clock[1]}, delivered {clock[2]}]: {alex} is here"
    )
    written = shell.ok("history", alex, bob, "--times", "--export", "-").out
    assert shown in written
    page = shell.ok("history", alex, bob, "--export", "-", "--format", "html").out
    assert f'title="queued {clock[0]}, sent {clock[1]}, delivered {clock[2]}">delivered<' in page
    assert shell("history", alex, "--peers", "--times").code == 2


def test_a_history_of_an_older_rcsops_is_shown_as_it_is(lab: Lab, tmp_path: Path) -> None:
    shell = shell_of(lab, tmp_path)
    (user,) = lab.users("alex")
    file = lab.project.make_agent_dir(f"{user}@rcs.example") / "history.db"
    file.write_bytes((Path(__file__).parents[1] / "data" / "history-v1.db").read_bytes())
    before = file.read_bytes()
    kept = records(shell.ok("history", user, "--json"))
    assert [each["status"] for each in kept[:3]] == ["queued", "stored", "sent"]
    assert [list(each["times"]) for each in kept[-2:]] == [["received"], ["received"]]
    assert file.read_bytes() == before
    # An agent brings it to this version, and goes on in it.
    assert lab.run(user, "nobody", stdin="/quit\n").code in (0, 1)
    after = records(shell.ok("history", user, "--json"))[:8]
    assert [(each["id"], each["text"]) for each in after] == [
        (each["id"], each["text"]) for each in kept
    ]
    # What may not have arrived goes once more, if it is not too old; all else is as it was.
    settled = [each for each in kept if each["status"] not in ("queued", "sent")]
    assert len(settled) > 3
    assert all(each in after for each in settled)


def test_people_see_lines_that_no_text_can_forge(told: Talk) -> None:
    shell, alex, bob = told
    day, _, clock = records(shell.ok("history", bob, "--json"))[0]["time"][:19].partition("T")
    done = shell.ok("history", bob)
    assert done.err == ""
    assert done.lines[0] == f"{day} {clock} from {alex}: {alex} is here"
    assert done.lines[1].endswith(f" to {alex} [delivered]: {bob} is here")
    assert not any(ord(each) < 32 for line in done.lines for each in line)
    (forged,) = [index for index, line in enumerate(done.lines) if "from carol" in line]
    assert done.lines[forged].startswith("    2026-01-01")
    assert done.lines[forged - 1].endswith(r"\x1b]0;owned\x07\x1b[2J\u202eforged")


def test_on_a_terminal_a_long_line_is_set_in(told: Talk) -> None:
    told.shell.environment["COLUMNS"] = "40"
    shown = told.shell.terminal("history", told.bob, "--search", "is here").read().splitlines()
    told.shell.environment["COLUMNS"] = "80"
    assert all(len(line) <= 40 for line in shown)
    assert shown[1] == f"    {told.alex} is here"


@pytest.mark.parametrize(
    ("sought", "found"),
    [
        ("zażółć", [0]),
        ("GĘŚLĄ jaźń", [0]),
        ("100%", [1]),
        ("it_all", [1]),
        ("_", [1]),
        ("%", [1]),
        ("straße", [3]),
        ("gru\u0308ße", [3]),
        ("<SCRIPT>", [4]),
        ("no such", []),
    ],
)
def test_a_search_looks_for_what_is_typed_in_any_case(
    told: Talk, sought: str, found: list[int]
) -> None:
    done = told.shell.ok("history", told.alex, told.bob, "--search", sought, "--json")
    assert texts(done) == [TEXTS[each] for each in found]
    assert done.json["total"] == len(found)


def test_pages_and_times(told: Talk) -> None:
    shell, alex, _ = told
    page = shell.ok("history", alex, "--limit", "2")
    assert len(page.lines) == 2
    assert page.lines[-1].endswith(": for later")
    total = len(TEXTS) + 4
    assert page.err == (f"the last 2 of {total}; --all shows them all, --until TIME those before\n")
    kept = records(shell.ok("history", alex, "--json"))
    middle = kept[4]["time"]
    after = texts(shell.ok("history", alex, "--since", middle, "--json"))
    before = texts(shell.ok("history", alex, "--until", middle, "--json"))
    # A time is given in milliseconds and kept more exactly: the message itself is on one side.
    assert before + after == [each["text"] for each in kept]
    assert {len(before), len(after)} <= {4, 5, total - 4, total - 5}
    assert len(texts(shell.ok("history", alex, "--since", "yesterday", "--json"))) == total
    assert len(texts(shell.ok("history", alex, "--until", "today", "--json"))) == total
    assert len(texts(shell.ok("history", alex, "--since", "2h", "--json"))) == total
    assert texts(shell.ok("history", alex, "--until", "2h", "--json")) == []
    assert texts(shell.ok("history", alex, "--until", "2001-02-03", "--json")) == []
    none = shell.ok("history", alex, "--until", "2001-02-03T04:05")
    assert (none.out, none.err) == ("", "no such message\n")


def test_who_there_are_messages_with(told: Talk) -> None:
    shell, alex, bob = told
    (peer,) = shell.ok("history", alex, "--peers", "--json").json["peers"]
    assert (peer["peer"], peer["messages"]) == (f"sip:{bob}@rcs.example", len(TEXTS) + 4)
    assert peer["last_at"] == records(shell.ok("history", alex, "--json"))[-1]["time"]
    lines = shell.ok("history", alex, "--peers").lines
    assert lines[0].split() == ["PEER", "MESSAGES", "LAST"]
    assert lines[1].split()[:2] == [bob, str(len(TEXTS) + 4)]
    assert completed(shell, f"rcsops history {alex} ") == [bob]
    assert completed(shell, f"rcsops history {alex} x") == []
    assert alex in completed(shell, "rcsops history al")
    assert completed(shell, "rcsops history nobody ") == []


def test_nobody_is_disturbed_while_he_chats(told: Talk, lab: Lab) -> None:
    carol, dave = lab.users("carol", "dave")
    with lab.waiting(carol) as callee, lab.start(dave, carol) as caller:
        talk(caller, callee)
        assert texts(told.shell.ok("history", carol, "--json")) == [
            f"{dave} is here", f"{carol} is here"
        ]  # fmt: skip
        caller.say("and on")
        caller.wait("status", status="delivered")
        assert texts(told.shell.ok("history", carol, "--json"))[-1] == "and on"
        # One who was killed left his history as it was.
        callee.kill()
    assert texts(told.shell.ok("history", carol, "--json"))[-1] == "and on"


def statuses(shell: Shell, user: str) -> list[str]:
    """What became of the files that the user sent; an agent notes it while it tells it."""
    kept = records(shell.ok("history", user, "--json"))
    return [each["status"] for each in kept if each["file"] and each["direction"] == "out"]


def test_files_are_kept_with_where_they_are(told: Talk, lab: Lab, tmp_path: Path) -> None:
    erin, frank = lab.users("erin", "frank")
    picture = tmp_path / "Kätzchen & co.png"
    picture.write_bytes(b"picture" * 1000)
    sha1 = hashlib.sha1(picture.read_bytes()).hexdigest()
    with lab.waiting(frank) as callee, lab.start(erin, frank) as caller:
        talk(caller, callee)
        for number in (1, 2):
            caller.type(f"/send {shlex.quote(str(picture))}")
            caller.wait("file-sent")
            received = callee.wait("file-received")
            # It is in the history before anybody hears of it.
            kept = records(told.shell.ok("history", frank, "--json"))[2:]
            assert len(kept) == number
            assert kept[-1]["file"] == {
                "name": picture.name, "path": received["path"], "size": 7000, "sha1": sha1
            }  # fmt: skip
        caller.type("/bye")
        callee.wait("session-ended")
    wait_until(lambda: statuses(told.shell, erin) == ["delivered"] * 2, timeout=30)
    (first, _) = records(told.shell.ok("history", erin, "--search", "KÄTZCHEN", "--json"))
    assert first["file"] == {
        "name": picture.name, "path": str(picture), "size": 7000, "sha1": sha1
    }  # fmt: skip
    assert (
        told.shell.ok("history", erin)
        .lines[-1]
        .endswith(f" to {frank} [delivered]: file {picture.name} (7.0 kB, SHA-1 {sha1}, {picture})")
    )


def test_a_file_that_was_refused_is_kept_as_failed(told: Talk, lab: Lab, tmp_path: Path) -> None:
    gina, hugo = lab.users("gina", "hugo")
    note = tmp_path / "note.txt"
    note.write_text("no")
    with lab.waiting(hugo, "--ask") as callee, lab.start(gina, hugo) as caller:
        callee.wait("invited")
        callee.type("/accept")
        talk(caller, callee)
        caller.type(f"/send {note}")
        callee.wait("file-offered")
        callee.type("/decline")
        caller.wait("file-failed")
        wait_until(lambda: statuses(told.shell, gina) == ["failed"], timeout=30)
        (kept,) = records(told.shell.ok("history", gina, "--search", "note", "--json"))
        assert "refused the file" in kept["reason"]
    assert records(told.shell.ok("history", hugo, "--search", "note", "--json")) == []


class Page(HTMLParser):
    """The messages of an exported page, and everything in it that could run or fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.states: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self._into: list[str] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href") or name[:2] == "on"]
        self._into = {"p": self.texts}.get(tag)
        if ("class", "state") in attrs:
            self._into = self.states
        if self._into is not None:
            self._into.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "span"):
            self._into = None

    def handle_data(self, data: str) -> None:
        if self._into is not None:
            self._into[-1] += data


def test_an_exported_page_holds_the_texts_and_runs_nothing(told: Talk, tmp_path: Path) -> None:
    file = tmp_path / "history.html"
    done = told.shell.ok("history", told.alex, told.bob, "--export", str(file))
    assert done.out == f"wrote {len(TEXTS) + 4} messages to {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    page = Page(file.read_text(encoding="utf-8"))
    expected = [each["text"] for each in records(told.shell.ok("history", told.alex, "--json"))]
    written_out = {"\x1b": r"\x1b", "\x07": r"\x07", "\u202e": r"\u202e"}
    expected[6] = "".join(written_out.get(each, each) for each in expected[6])
    assert page.texts == expected
    assert page.states == ["delivered"] * (len(TEXTS) + 1) + ["stored"]
    assert page.tags.isdisjoint({"script", "img", "link", "iframe"})
    assert page.links == []
    again = told.shell("history", told.alex, "--export", str(file))
    assert (again.code, again.err.splitlines()[0]) == (2, f"error: {file} is there already")
    assert list(tmp_path.iterdir()) == [file]


def test_exports_for_programs_and_as_text(told: Talk, tmp_path: Path) -> None:
    shell, alex, bob = told
    kept = records(shell.ok("history", alex, "--json"))
    done = shell.ok("history", alex, "--export", str(tmp_path / "all.JSON"), "--json")
    assert done.json == {
        "path": str(tmp_path / "all.JSON"), "format": "json", "messages": len(kept)
    }  # fmt: skip
    exported = json.loads((tmp_path / "all.JSON").read_text())
    assert exported == {"user": f"{alex}@rcs.example", "messages": kept}
    shell.ok("history", alex, "--export", str(tmp_path / "few.txt"), "--limit", "1")
    lines = (tmp_path / "few.txt").read_text().splitlines()
    assert lines[0].startswith(f"Messages of {alex}@rcs.example (times: UTC+0")
    assert lines[2].endswith(f" to {bob} [stored]: for later")
    none = shell.ok("history", alex, "--search", "no such", "--export", "-", "--format", "json")
    assert none.json["messages"] == []
    assert shell.ok("history", alex, "--export", "-").out.count("\n    2026-01-01") == 1


def test_what_is_asked_wrongly_is_said(told: Talk, tmp_path: Path) -> None:
    for words, error in [
        (("--since", "tomorrowish"), "'tomorrowish' is no time"),
        (("--since", "999999999w"), "'999999999w' is no time"),
        (("--export", str(tmp_path / "x.doc")), "says no format"),
        (("--export", str(tmp_path / "no" / "x.txt")), "cannot write"),
        (("--format", "txt"), "--format needs --export"),
        (("--peers", "--search", "x"), "--peers shows everybody"),
        (("--all", "--limit", "3"), "exclude each other"),
        (("sip:",), "is not a SIP address"),
    ]:
        done = told.shell("history", told.alex, *words)
        assert done.code == 2, (words, done)
        assert error in done.err


def test_a_user_without_a_history(told: Talk, tmp_path: Path) -> None:
    done = told.shell.ok("history", "nobody")
    assert done.out == ""
    assert done.err.startswith("no message of nobody@rcs.example is kept here yet\nthere are")
    assert told.alex in done.err
    empty = {"user": "nobody@rcs.example", "messages": [], "total": 0}
    assert told.shell.ok("history", "nobody", "--json").json == empty
    assert told.shell.ok("history", "nobody", "--peers", "--json").json["peers"] == []
    export = told.shell("history", "nobody", "--export", str(tmp_path / "x.txt"))
    assert (export.code, list(tmp_path.iterdir())) == (1, [])


@pytest.fixture
def file(rcsops: Shell) -> Path:
    """Where the history of bob belongs, in a project of its own."""
    (rcsops.directory / "rcsops.toml").write_text('domain = "rcs.example"\n')
    file = rcsops.directory / ".rcsops" / "agents" / "bob@rcs.example" / "history.db"
    file.parent.mkdir(parents=True)
    return file


def copy(told: Talk, lab: Lab, file: Path) -> sqlite3.Connection:
    """A copy of a real history that a test may spoil."""
    source = lab.project.agent_dir(told.bob) / "history.db"
    spoilt = sqlite3.connect(file)
    with sqlite3.connect(source) as original:
        original.backup(spoilt)
    original.close()
    return spoilt


def test_a_history_that_cannot_be_used(told: Talk, lab: Lab, rcsops: Shell, file: Path) -> None:
    file.write_bytes(b"")
    assert "kept here yet" in rcsops.ok("history", "bob").err
    file.write_bytes(b"no database at all" * 100)
    assert said(rcsops) == f"the database {file} is not an SQLite database"
    file.unlink()
    spoilt = copy(told, lab, file)
    spoilt.execute("UPDATE rcsops_history SET version = 99")
    spoilt.commit()
    assert "version 99; this rcsops works with" in said(rcsops)
    spoilt.execute("DROP TABLE rcsops_history")
    spoilt.commit()
    assert "belongs to another program" in said(rcsops)
    spoilt.close()
    file.unlink()
    with copy(told, lab, file) as spoilt:
        spoilt.execute("DROP TABLE message")
    spoilt.close()
    assert said(rcsops) == f"the database {file} lacks a table"
    file.unlink()
    file.mkdir()
    assert said(rcsops) == f"{file} is a directory, not a database"


_READ_ONLY = 'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$@"'


def test_a_history_on_a_disk_that_may_only_be_read(
    told: Talk, lab: Lab, rcsops: Shell, file: Path
) -> None:
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    copy(told, lab, file).close()
    command = [sys.executable, "-m", "rcsops", "history", "bob", "--search", "is here"]
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", _READ_ONLY, "sh", *command],
        cwd=rcsops.directory,
        env=rcsops.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def said(shell: Shell) -> str:
    """The error of a history of bob that cannot be shown, which has a hint of its own."""
    done = shell("history", "bob")
    assert done.code == 1, done
    assert done.out == ""
    error, hint = done.err.splitlines()
    assert hint.startswith("hint: ")
    assert "rcsops db" not in hint and "database.url" not in hint
    return error.removeprefix("error: ")


def test_absurd_values_are_shown(told: Talk, lab: Lab, rcsops: Shell, file: Path) -> None:
    with copy(told, lab, file) as history:
        history.execute("DELETE FROM message WHERE id > 2")
        history.execute(
            "UPDATE message SET sent_at = -1e17, stored_at = 1e17, peer = ?, reason = ?, "
            "status = 'failed' WHERE id = 1",
            ("sip:\x1b[31m<b>@rcs.example", "480 <i>\n\x1b[0m"),
        )
        history.execute(
            "INSERT INTO attachment (message, name, path, size, sha1) "
            "VALUES (2, ?, '/files/<b>.png', 1400000, ?)",
            ("Kätzchen<b>\x1b.png", "a" * 40),
        )
    history.close()
    first, second = rcsops.ok("history", "bob", "--search", "").lines[:2]
    assert r"from \x1b[31m<b> (written 1900-01-01" in first
    assert r"[failed: 480 <i>\x0a\x1b[0m]: " in first
    assert second.endswith(
        " [delivered]: " + records(rcsops.ok("history", "bob", "--json"))[1]["text"]
    )
    words = rf"file Kätzchen<b>\x1b.png (1.4 MB, SHA-1 {'a' * 40}, /files/<b>.png)"
    assert rcsops.ok("history", "bob").lines[2] == f"    {words}"
    (found,) = records(rcsops.ok("history", "bob", "--search", "KÄTZCHEN", "--json"))
    assert found["file"]["sha1"] == "a" * 40
    assert found["file"]["size"] == 1_400_000
    page = Page(rcsops.ok("history", "bob", "--export", "-", "--format", "html").out)
    assert page.texts[1].endswith("\n" + words)
    assert page.tags.isdisjoint({"i"})


def test_a_search_among_100_000_messages(told: Talk, lab: Lab, rcsops: Shell, file: Path) -> None:
    with copy(told, lab, file) as history:
        history.execute("DELETE FROM message")
        history.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) "
            "INSERT INTO message (peer, direction, message_id, text, status, sent_at, stored_at) "
            "SELECT 'sip:p' || (i % 50) || '@rcs.example', 'in', i, 'żółty text number ' || i, "
            "'received', 1e9 + i, 1e9 + i FROM n"
        )
    history.close()

    def search() -> None:
        done = rcsops.ok("history", "bob", "--search", "ŻÓŁTY TEXT NUMBER 7777", "--json")
        assert done.json["total"] == 11

    # Processes start slowly on a busy machine; the search itself takes part of a second.
    assert timed(search) < 20
    assert len(rcsops.ok("history", "bob", "--peers", "--json").json["peers"]) == 50
    assert rcsops.ok("history", "bob", "--export", "-").out.count("\n") == 100_002
