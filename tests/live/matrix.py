"""docs/matrix.json: what the live tests found on every server and database; and the table of it.

    python -m tests.live.matrix releases [--resume]   what `make live` runs (and is still to run)
    python -m tests.live.matrix table                 writes the tables into docs/matrix.md

Rows are of one server and one kind of database, and of one commit. `make live` writes them, a
release at a time; rows of what it did not run stay.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.live.subjects import (
    CASES,
    DATABASES,
    INSTALLATIONS,
    NONE,
    Subject,
    database_name,
    said,
    untested,
)

ROOT = Path(__file__).resolve().parent.parent.parent
MATRIX = ROOT / "docs" / "matrix.json"
PAGE = ROOT / "docs" / "matrix.md"
BEGIN, END = "<!-- from matrix.json: make matrix -->", "<!-- end -->"
# What `--release` calls the tests that are on no OpenSIPS alone.
EVERY_OTHER = "none"
OUTCOMES = ("passed", "failed", "skipped")

Matrix = dict[str, Any]
Row = dict[str, Any]
EMPTY: Matrix = {"rows": [], "untested": {}}


class Record:
    """Counts the outcome of every test, by its subject."""

    def __init__(self) -> None:
        self._outcomes: dict[str, tuple[Subject, str, str]] = {}

    def add(self, name: str, subject: Subject, outcome: str, reason: str = "") -> None:
        """The outcome of one phase of a test; one that failed in any phase failed."""
        before = self._outcomes.get(name)
        if before is None or before[1] != "failed":
            self._outcomes[name] = (subject, outcome, reason)

    def rows(self, commit: str, date: str) -> list[Row]:
        """The rows of the matrix that these outcomes are."""
        counts: dict[tuple[str, str], dict[str, Counter[str]]] = {}
        reasons: dict[tuple[str, str], Counter[str]] = {}
        for subject, outcome, reason in self._outcomes.values():
            key = (subject.server, subject.database)
            counts.setdefault(key, {}).setdefault(subject.feature, Counter())[outcome] += 1
            if outcome == "skipped":
                reasons.setdefault(key, Counter())[reason] += 1
        return [
            {
                "server": server,
                "says": said(server),
                "database": database,
                "database_version": database_name(database),
                "commit": commit,
                "date": date,
                "features": {
                    name: {each: features[name][each] for each in OUTCOMES}
                    for name in sorted(features)
                },
                "skipped": dict(sorted(reasons.get((server, database), {}).items())),
            }
            for (server, database), features in counts.items()
        ]


def commit_here() -> str:
    """The commit of the tree, with "+" for one that has been changed since."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    # The matrix itself changes while it is being made.
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/matrix.*")
    return commit + ("+" if changed else "")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def read(path: Path = MATRIX) -> Matrix:
    """The matrix as it stands; an empty one where there is none."""
    if not path.exists():
        return EMPTY
    found: Matrix = json.loads(path.read_text("utf-8"))
    return found


def covers(release: str | None, server: str) -> bool:
    """Whether a run with this ``--release`` has all tests that are on ``server``."""
    on_one = re.match(r"OpenSIPS \d", server) is not None
    if release is None:
        return not on_one or server in {f"OpenSIPS {each.version}" for each in INSTALLATIONS}
    return not on_one if release == EVERY_OTHER else server == f"OpenSIPS {release}"


def merge(
    matrix: Matrix, rows: Iterable[Row], not_tested: dict[str, str], release: str | None
) -> Matrix:
    """The matrix with these rows in place of those that the run covers; the others stay."""
    kept = [row for row in matrix["rows"] if not covers(release, row["server"])]
    ordered = sorted([*kept, *rows], key=lambda row: (row["server"], row["database"]))
    return {"rows": ordered, "untested": not_tested}


def write(path: Path, record: Record, commit: str, release: str | None) -> None:
    """Puts what was found into the file; ``commit`` is that at the start of the run."""
    if commit_here() != commit:
        commit = commit.rstrip("+") + "+"
    found = merge(read(path), record.rows(commit, today()), untested(), release)
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")


def lacking(matrix: Matrix, commit: str) -> list[str]:
    """The releases here that have no row of this commit on one of their databases, or a failure.

    "none" stands for what is on no OpenSIPS alone.
    """
    rows = [row for row in matrix["rows"] if row["commit"] == commit]
    bad = {row["server"] for row in rows if _total(row)["failed"]}
    here = {(row["server"], row["database"]) for row in rows}
    wanted = {
        each.installation.version
        for each in CASES
        if f"OpenSIPS {each.installation.version}" in bad
        or (f"OpenSIPS {each.installation.version}", each.database) not in here
    }
    names = {f"OpenSIPS {each.version}" for each in INSTALLATIONS}
    others = {server for server, _ in here} - names
    releases = [each.version for each in INSTALLATIONS if each.version in wanted]
    return releases if others and not others & bad else [*releases, EVERY_OTHER]


# --- the table -------------------------------------------------------------------------------


def tables(matrix: Matrix) -> str:
    """The matrix in Markdown: OpenSIPS on each database, then the other servers."""
    parts = []
    for database in (*DATABASES, NONE):
        rows = [row for row in matrix["rows"] if row["database"] == database]
        rows = [row for row in rows if row["server"].startswith("OpenSIPS ")]
        if rows:
            versions = sorted({row["database_version"] for row in rows} - {""})
            title = " and ".join(versions) if versions else "whatever the database"
            parts.append(f"### OpenSIPS, {title}\n\n{_by_feature(rows)}")
    rows = [row for row in matrix["rows"] if not row["server"].startswith("OpenSIPS ")]
    if rows:
        parts.append(f"### Other servers and clients\n\n{_by_server(rows)}")
    if matrix["untested"]:
        lines = [f"- {what}: {why}" for what, why in sorted(matrix["untested"].items())]
        parts.append("### Not tested\n\n" + "\n".join(lines))
    return "\n\n".join(parts or ["No run has been recorded yet."]) + "\n"


def _by_feature(rows: list[Row]) -> str:
    """A line for each feature, a column for each server."""
    names = sorted({name for row in rows for name in row["features"]})
    columns = [row["server"].removeprefix("OpenSIPS ") for row in rows]
    lines = [["passed", *columns]]
    lines += [[name, *(_cell(row["features"].get(name)) for row in rows)] for name in names]
    lines.append(["**all**", *(_cell(_total(row)) for row in rows)])
    lines.append(["commit", *(f"{row['commit']}, {row['date']}" for row in rows)])
    said_by = [f"- `{row['says']}`" for row in rows if row["says"].startswith("version")]
    return _with_notes(lines, said_by + _skips(rows))


def _by_server(rows: list[Row]) -> str:
    lines = [["server or client", "its version", "database", "feature", "passed", "commit"]]
    lines += [
        [
            *(row["server"], row["says"], row["database_version"], name),
            *(_cell(counts), f"{row['commit']}, {row['date']}"),
        ]
        for row in rows
        for name, counts in row["features"].items()
    ]
    return _with_notes(lines, _skips(rows))


def _skips(rows: list[Row]) -> list[str]:
    return [
        f"- {row['server']}, {number} skipped: {reason}"
        for row in rows
        for reason, number in row["skipped"].items()
    ]


def _with_notes(lines: list[list[str]], notes: list[str]) -> str:
    return "\n\n".join(part for part in (_markdown(lines), "\n".join(notes)) if part)


def _total(row: Row) -> dict[str, int]:
    features = row["features"].values()
    return {outcome: sum(counts[outcome] for counts in features) for outcome in OUTCOMES}


def _cell(counts: dict[str, int] | None) -> str:
    if counts is None:
        return ""
    cell = str(counts["passed"])
    cell += f", **{counts['failed']} failed**" if counts["failed"] else ""
    return cell + (f", {counts['skipped']} skipped" if counts["skipped"] else "")


def _markdown(lines: list[list[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def with_tables(page: str, matrix: Matrix) -> str:
    """The page with the tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(matrix)}\n{END}{after}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.live.matrix")
    parser.add_argument("what", choices=("releases", "table"))
    parser.add_argument("--resume", action="store_true", help="only what lacks a good row")
    options = parser.parse_args(arguments)
    if options.what == "table":
        PAGE.write_text(with_tables(PAGE.read_text("utf-8"), read()), "utf-8")
        return 0
    matrix = read() if options.resume else EMPTY
    print(*lacking(matrix, commit_here()), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
