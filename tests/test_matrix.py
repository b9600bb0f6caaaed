"""docs/matrix.json is what `make live` found, and docs/matrix.md is made from it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.live.conftest import Recorder
from tests.live.matrix import (
    EVERY_OTHER,
    PAGE,
    ROOT,
    Record,
    lacking,
    merge,
    read,
    tables,
    with_tables,
)
from tests.live.subjects import CASES, Subject

PLACES = {"RCSOPS_TEST_OPENSIPS": ""}


def row(server: str, database: str, commit: str = "abc", failed: int = 0) -> dict[str, Any]:
    return {
        "server": server,
        "says": f"version: {server.lower()} (x86_64/linux)",
        "database": database,
        "database_version": {"sqlite": "SQLite 3.40.1", "mariadb": "MariaDB 10.11"}.get(
            database, ""
        ),
        "commit": commit,
        "date": "2026-11-26",
        "features": {"chat": {"passed": 3, "failed": failed, "skipped": 1}},
        "skipped": {"no mi_http": 1},
    }


def test_the_page_shows_the_matrix() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_tables(page, read()), "make matrix"


def test_every_figure_is_of_a_commit_and_a_day() -> None:
    for each in read()["rows"]:
        assert each["commit"]
        assert each["date"]
        assert each["says"], each["server"]
        counts = [sum(counts.values()) for counts in each["features"].values()]
        assert counts
        assert all(counts)
        skipped = sum(counts["skipped"] for counts in each["features"].values())
        assert sum(each["skipped"].values()) == skipped


def test_rows_of_what_was_not_run_stay() -> None:
    before = {
        "rows": [
            row("Kamailio", "none"),
            row("OpenSIPS 3.0.2", "sqlite"),
            row("OpenSIPS 3.6.8", "none"),
            row("OpenSIPS 3.6.8", "sqlite"),
            row("OpenSIPS, all releases", "mariadb"),
        ],
        "untested": {"MySQL": "none here"},
    }

    def merged(new: list[dict[str, Any]], release: str) -> list[tuple[str, str, str]]:
        found = merge(before, new, {}, release)
        assert found["untested"] == {}
        return [(each["server"], each["database"], each["commit"]) for each in found["rows"]]

    # All rows of that release are new: one that no test makes any more is gone.
    new = [row("OpenSIPS 3.6.8", "sqlite", "def"), row("OpenSIPS 3.6.8", "mariadb", "def")]
    assert merged(new, "3.6.8") == [
        ("Kamailio", "none", "abc"),
        ("OpenSIPS 3.0.2", "sqlite", "abc"),
        ("OpenSIPS 3.6.8", "mariadb", "def"),
        ("OpenSIPS 3.6.8", "sqlite", "def"),
        ("OpenSIPS, all releases", "mariadb", "abc"),
    ]
    assert merged([row("sipp", "none", "def")], EVERY_OTHER) == [
        ("OpenSIPS 3.0.2", "sqlite", "abc"),
        ("OpenSIPS 3.6.8", "none", "abc"),
        ("OpenSIPS 3.6.8", "sqlite", "abc"),
        ("sipp", "none", "def"),
    ]


def test_a_test_that_fails_in_any_phase_has_failed() -> None:
    record = Record()
    for number, outcomes in enumerate(
        (["passed"], ["passed", "failed"], ["failed", "passed"], ["skipped"])
    ):
        for outcome in outcomes:
            subject = Subject("Kamailio", "", "none", "chat")
            record.add(f"test-{number}", subject, outcome, "why" if outcome == "skipped" else "")
    (found,) = record.rows("abc", "2026-11-26")
    assert found["features"] == {"chat": {"passed": 1, "failed": 2, "skipped": 1}}
    assert found["skipped"] == {"why": 1}
    assert (found["commit"], found["date"]) == ("abc", "2026-11-26")


def test_the_tables_show_failures_and_what_was_skipped() -> None:
    shown = tables(
        {
            "rows": [
                row("OpenSIPS 3.0.2", "sqlite"),
                row("OpenSIPS 3.6.8", "sqlite", failed=2),
                row("Kamailio", "none"),
            ],
            "untested": {"MySQL": "none here"},
        }
    )
    assert "| passed | 3.0.2 | 3.6.8 |" in shown
    assert "| chat | 3, 1 skipped | 3, **2 failed**, 1 skipped |" in shown
    assert "| commit | abc, 2026-11-26 | abc, 2026-11-26 |" in shown
    assert "- OpenSIPS 3.0.2, 1 skipped: no mi_http" in shown
    assert "| Kamailio | version: kamailio (x86_64/linux) |  | chat | 3, 1 skipped |" in shown
    assert "- MySQL: none here" in shown


def test_what_a_resumed_run_leaves_out() -> None:
    rows = [
        row(f"OpenSIPS {each.installation.version}", each.database, "now") for each in CASES
    ] + [row("Kamailio", "none", "now")]
    matrix = {"rows": rows, "untested": {}}
    assert lacking(matrix, "now") == []
    assert EVERY_OTHER in lacking(matrix, "later")
    rows[-1] = row("Kamailio", "none", "now", failed=1)
    assert lacking(matrix, "now") == [EVERY_OTHER]
    if CASES:
        rows[0] = row(rows[0]["server"], rows[0]["database"], "now", failed=1)
        assert lacking(matrix, "now") == [CASES[0].installation.version, EVERY_OTHER]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["tests/live/test_sipp.py", "-m", ""], pytest.ExitCode.USAGE_ERROR),
        (["tests/live"], pytest.ExitCode.USAGE_ERROR),
        (["tests/live", "-m", "", "-k", "sipp"], pytest.ExitCode.USAGE_ERROR),
        (["tests/live", "-m", "", "--release", "9.9.9"], pytest.ExitCode.NO_TESTS_COLLECTED),
    ],
)
def test_a_part_of_the_tests_writes_nothing(words: list[str], code: int, tmp_path: Path) -> None:
    matrix = tmp_path / "matrix.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *words, "--matrix", str(matrix)],
        cwd=ROOT,
        env=os.environ | PLACES,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert not matrix.exists()


def report(name: str, when: str, outcome: str, why: str = "") -> pytest.TestReport:
    """What pytest says of a phase of a test, as it comes from a worker of xdist."""
    return pytest.TestReport(
        nodeid=name,
        location=("file", 1, name),
        keywords={},
        outcome=outcome,  # type: ignore[arg-type]
        longrepr=("file", 1, f"Skipped: {why}") if why else None,
        when=when,  # type: ignore[arg-type]
        user_properties=[("subject", ["sipp", "", "none", "calls"])],
    )


def test_a_run_that_came_to_its_end_is_written_down(tmp_path: Path) -> None:
    path = tmp_path / "matrix.json"
    recorder = Recorder(path, EVERY_OTHER)
    for phase in ("setup", "call", "teardown"):
        recorder.pytest_runtest_logreport(report("good", phase, "passed"))
    recorder.pytest_runtest_logreport(report("bad", "setup", "failed"))
    recorder.pytest_runtest_logreport(report("missing", "setup", "skipped", "no sipp"))
    recorder.pytest_sessionfinish(pytest.ExitCode.INTERRUPTED)
    assert not path.exists()
    recorder.pytest_sessionfinish(pytest.ExitCode.TESTS_FAILED)
    (found,) = read(path)["rows"]
    assert (found["server"], found["commit"]) == ("sipp", recorder.commit)
    assert found["features"] == {"calls": {"passed": 1, "failed": 1, "skipped": 1}}
    assert found["skipped"] == {"no sipp": 1}
