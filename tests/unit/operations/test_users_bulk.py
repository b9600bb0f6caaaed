import csv
import io
import json
import stat
from pathlib import Path

import pytest

from rcsops.errors import UsageError
from rcsops.operations import db, users, users_bulk
from rcsops.operations.names import UserName
from rcsops.operations.users_bulk import UsersImported, export_to, export_users, import_users
from rcsops.settings import Project
from tests.unit.operations.conftest import Lab
from tests.unit.operations.test_db_migrate import content, sqlite_project


@pytest.fixture(scope="session", params=["sqlite", "mysql"])
def flavour(request: pytest.FixtureRequest) -> str:
    if request.param == "mysql":
        # Started here, for all: a test must leave no process of its own.
        request.getfixturevalue("mariadb")
    return str(request.param)


@pytest.fixture
def project(flavour: str, request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    if flavour == "mysql":
        lab: Lab = request.getfixturevalue("lab")
        return lab.create("3.6.8")
    project = sqlite_project(tmp_path / "lite")
    db.create(project)
    return project


@pytest.fixture
def lite(tmp_path: Path) -> Project:
    project = sqlite_project(tmp_path / "lite")
    db.create(project)
    return project


def take(project: Project, text: str, form: str = "csv", **more: bool) -> UsersImported:
    return import_users(project, io.StringIO(text, newline=""), form, **more)


def names(project: Project) -> list[str]:
    return [each.user.removesuffix("@rcs.example") for each in users.list_users(project).users]


def stored(project: Project) -> dict[str, dict[str, object]]:
    return {str(each["username"]): each for each in content(project)["subscriber"]}


def test_import_stores_hashes_alone(project: Project) -> None:
    result = take(project, "user,password\nbob,sesame-1\nsip:Alex@RCS.example,sesame-2\n")
    assert (result.added, result.bad, result.done) == (2, (), True)
    assert names(project) == ["Alex", "bob"]
    bob = stored(project)["bob"]
    expected = users.hashes(UserName("bob", "rcs.example"), "sesame-1")
    assert [bob["ha1"], bob["ha1_sha256"], bob["ha1_sha512t256"]] == list(expected.values())
    assert bob["password"] == ""


def test_plain_passwords_only_if_a_flag_asks(project: Project) -> None:
    assert take(project, "user,password\nbob,sesame-1\n", plain=True).added == 1
    assert stored(project)["bob"]["password"] == "sesame-1"
    long = take(project, f"user,password\nalex,{'x' * 26}\n", plain=True)
    assert "holds 25 characters" in long.bad[0].reason


def test_one_bad_line_keeps_all_out_and_every_one_is_named(project: Project) -> None:
    take(project, "user,password\nthere,sesame-1\n")
    text = (
        "user,password\n"
        "good,sesame-1\n"
        "bad name,sesame-1\n"
        "short,x\n"
        "\n"
        "there,sesame-1\n"
        "good,sesame-2\n"
        "a,b,c\n"
        "other@else.example,sesame-1\n"
        "bob@bücher.example,sesame-1\n"
        "empty,\n"
        '"two\nlines",sesame-1\n'
        "last,sesame-1\n"
    )
    result = take(project, text)
    assert not result.done
    assert result.added == 0
    assert names(project) == ["there"]
    reasons = {each.line: each.reason for each in result.bad}
    assert list(reasons) == [3, 4, 6, 7, 8, 9, 10, 11, 12]
    assert "escape the others: bad%20name" in reasons[3]
    assert "fewer than 6 characters" in reasons[4]
    assert "is there already" in reasons[6]
    assert "came before in the file" in reasons[7]
    assert "3 values" in reasons[8]
    assert "not of this project's domain" in reasons[9]
    assert "not of this project's domain" in reasons[10]
    assert "neither a password nor a hash" in reasons[11]
    result = take(project, text, skip_bad=True)
    assert (result.added, result.bad_lines, result.done) == (2, 9, True)
    assert names(project) == ["good", "last", "there"]


def test_replace_changes_those_that_are_there(project: Project) -> None:
    take(project, "user,password\nbob,sesame-1\n")
    before = stored(project)["bob"]
    result = take(project, "user,password\nbob,sesame-2\nalex,sesame-1\n", replace=True)
    assert (result.added, result.replaced) == (1, 1)
    after = stored(project)["bob"]
    assert after["id"] == before["id"]
    assert after["ha1"] == users.hashes(UserName("bob", "rcs.example"), "sesame-2")["MD5"]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_is_exported_can_be_imported(project: Project, tmp_path: Path, form: str) -> None:
    take(project, 'user,password\nbob,sesame-1\n"a,b;\'",sesame-2\nBob,sesame-3\n')
    before = stored(project)
    stream = io.StringIO(newline="")
    assert export_users(project, stream, form).users == 3
    assert "sesame" not in stream.getvalue()
    other = sqlite_project(tmp_path / "other")
    db.create(other)
    assert take(other, stream.getvalue(), form).added == 3
    after = stored(other)
    for name, row in before.items():
        assert {**row, "id": 0} == {**after[name], "id": 0}


def test_an_export_is_for_its_owner(lite: Project, tmp_path: Path) -> None:
    take(lite, "user,password\nbob,sesame-1\n", plain=True)
    result = export_to(lite, tmp_path / "a.csv", "csv", plain=True)
    assert result.users == 1
    assert stat.S_IMODE((tmp_path / "a.csv").stat().st_mode) == 0o600
    (row,) = csv.DictReader((tmp_path / "a.csv").open())
    assert (row["user"], row["password"]) == ("bob@rcs.example", "sesame-1")
    with pytest.raises(UsageError, match="is there already"):
        export_to(lite, tmp_path / "a.csv", "csv")
    with pytest.raises(UsageError, match="cannot write"):
        export_to(lite, tmp_path / "no" / "a.csv", "csv")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "no column 'user'", "user,password"),
        ("bob,sesame\n", "there is no column 'bob'", "the first line names the columns"),
        ("usr,password\n", "there is no column 'usr'", "did you mean 'user'?"),
        ("user,user\n", "named twice", ""),
        ('"user\n', "line 1: ", "the first line names the columns"),
        ('{"user": "bob", "password": "sesame-1"}\n', "line 1: ", "--format jsonl"),
    ],
)
def test_a_file_without_columns(lite: Project, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        take(lite, text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("not json", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "not an object"),
        ('{"user": 5}', "'user' is no string"),
        ('{"name": "bob"}', "there is no key 'name'"),
        ('{"password": "sesame-1"}', "the user's name is empty"),
        (json.dumps({"user": "b" * 5000, "password": "sesame-1"}), "longer than 4096"),
        (json.dumps({"user": "b" * 65, "password": "sesame-1"}), "longer than the 64"),
        (json.dumps({"user": "bob", "ha1": "xyz"}), "not 32 hexadecimal digits"),
        (json.dumps({"user": "b%6fb", "ha1": "0" * 32}), "for which the hash does not hold"),
        (json.dumps({"user": "bob", "password": "a\udcff-----"}), "not UTF-8"),
    ],
)
def test_faults_of_json_lines(lite: Project, line: str, reason: str) -> None:
    result = take(lite, f'{{"user": "good", "password": "sesame-1"}}\n{line}\n', "jsonl")
    assert [each.line for each in result.bad] == [2]
    assert reason in result.bad[0].reason
    assert names(lite) == []


def test_a_quote_that_never_ends(lite: Project) -> None:
    result = take(lite, 'user,password\nbob,"sesame' + "x" * 10_000 + "\nalex,sesame-1\n")
    assert not result.done
    assert names(lite) == []


def test_hashes_for_a_release_without_their_column(lab: Lab) -> None:
    project = lab.create("3.0.2")
    result = take(project, f"user,ha1_sha256\nbob,{'0' * 64}\n")
    assert "3.0 has no column" in result.bad[0].reason
    result = take(project, f"user,ha1,ha1_sha256\nbob,{'0' * 32},{'0' * 64}\n")
    assert result.added == 1
    ((ha1, ha1b),) = lab.rows("SELECT ha1, ha1b FROM subscriber")
    assert ha1 == "0" * 32
    # Nobody knows what this is the hash of.
    assert len(ha1b) == 32


def test_many_are_hashed_by_several_processes(project: Project) -> None:
    number = users_bulk._PARALLEL_FROM + 300
    lines = [f"user{n},sesame-{n}" for n in range(number)]
    lines[number // 2] = "wrong one,sesame-1"
    counts: list[int] = []
    text = "user,password\n" + "\n".join(lines)
    assert take(project, text).bad[0].line == number // 2 + 2
    assert users.list_users(project, limit=1).total == 0
    result = import_users(project, io.StringIO(text), "csv", skip_bad=True, on_count=counts.append)
    assert result.added == number - 1
    assert counts[-1] == number - 1
    assert users.list_users(project, limit=1).total == number - 1
    last = stored(project)[f"user{number - 1}"]
    expected = users.hashes(UserName(f"user{number - 1}", "rcs.example"), f"sesame-{number - 1}")
    assert last["ha1_sha256"] == expected["SHA-256"]


def test_a_name_that_comes_again_much_later_is_one_fault(project: Project) -> None:
    lines = [f"user{number},of-number-{number}" for number in range(2 * users_bulk._CHUNK + 1)]
    text = "\n".join(["user,password", *lines, "user0,of-another", ""])
    result = take(project, text)
    assert not result.done
    assert [(each.line, each.reason) for each in result.bad] == [
        (len(lines) + 2, "'user0' came before in the file")
    ]
    assert take(project, text, skip_bad=True).added == len(lines)
    again = take(project, "user,password\nuser0,of-another\n")
    assert [each.reason for each in again.bad] == ["'user0' is there already"]
