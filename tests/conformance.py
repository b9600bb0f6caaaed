"""docs/conformance.md: what of SIP's RFCs is done, by section, and which tests hold it.

    python -m tests.conformance        what `make conformance` runs

What is done and left out is said in docs/conformance.toml. The tests are found by their markers,
`@pytest.mark.rfc("3261", "16.7")`, which are read out of the source: nothing is imported or run.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
WORDS = ROOT / "docs" / "conformance.toml"
PAGE = ROOT / "docs" / "conformance.md"


class Held(NamedTuple):
    """A test, and a section that it says it holds."""

    rfc: str
    section: str
    file: str
    test: str


class Section(NamedTuple):
    """A section in our words: ``does`` is empty where nothing of it is done, and ``omits`` why."""

    rfc: str
    number: str
    title: str
    does: str
    omits: str


class Words(NamedTuple):
    """docs/conformance.toml: the titles of the RFCs, and the sections in its order."""

    titles: dict[str, str]
    sections: tuple[Section, ...]


# --- the tests ---------------------------------------------------------------------------------


def markers(directory: Path = TESTS, root: Path = ROOT) -> list[Held]:
    """What every test below ``directory`` says it holds. Raises ValueError for a marker that
    cannot be read without running it."""
    found: list[Held] = []
    for path in sorted(directory.rglob("test_*.py")):
        source = path.read_text("utf-8")
        if "mark.rfc" in source:
            name = path.relative_to(root).as_posix()
            found += _held(ast.parse(source, name).body, name, [])
    return found


def _held(body: list[ast.stmt], file: str, outer: list[tuple[str, str]]) -> Iterator[Held]:
    """The tests of a module or class; ``outer`` is what its own pytestmark says for all."""
    marks = [*outer, *_pytestmark(body, file)]
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _held(node.body, file, [*marks, *_rfcs(node.decorator_list, file)])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_test(node.name):
            own = _rfcs(node.decorator_list, file)
            for rfc, section in dict.fromkeys([*marks, *own]):
                yield Held(rfc, section, file, node.name)


def _is_test(name: str) -> bool:
    return name.startswith("test_")


def _pytestmark(body: list[ast.stmt], file: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for node in body:
        names = [each.id for each in getattr(node, "targets", ()) if isinstance(each, ast.Name)]
        if isinstance(node, ast.Assign) and names == ["pytestmark"]:
            value = node.value
            found += _rfcs(value.elts if isinstance(value, ast.List) else [value], file)
    return found


def _rfcs(marks: list[ast.expr], file: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for mark in marks:
        if not isinstance(mark, ast.Call) or not ast.unparse(mark.func).endswith("mark.rfc"):
            continue
        values = [each.value for each in mark.args if isinstance(each, ast.Constant)]
        if len(values) != len(mark.args) or len(values) < 2 or mark.keywords:
            raise ValueError(f'{file}:{mark.lineno}: write it as rfc("3261", "16.7")')
        rfc, *sections = (str(value) for value in values)
        found += [(rfc, section) for section in sections]
    return found


# --- our words ---------------------------------------------------------------------------------


def words(path: Path = WORDS) -> Words:
    """What docs/conformance.toml says."""
    told: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    sections = tuple(
        Section(rfc, number, says["title"], says.get("does", ""), says.get("omits", ""))
        for rfc, each in told["rfc"].items()
        for number, says in each["section"].items()
    )
    return Words({rfc: each["title"] for rfc, each in told["rfc"].items()}, sections)


def home(held: Held, numbers: set[tuple[str, str]]) -> tuple[str, str] | None:
    """The section under which a test stands: its own, or the nearest around it that there is."""
    parts = held.section.split(".")
    for length in range(len(parts), 0, -1):
        key = held.rfc, ".".join(parts[:length])
        if key in numbers:
            return key
    return None


# --- the page ----------------------------------------------------------------------------------

_HEAD = """\
# What of the RFCs is done, and which tests hold it

Made by `make conformance` from [conformance.toml](conformance.toml), where the words are, and from
the markers of the tests: `@pytest.mark.rfc("3261", "16.7")`. A test stands under the section that
it names, or under the nearest one around it. That a section has a test does not say that every
sentence of it has one; **no test** says that none names it.

"Agent" is the user agent (`rcsops chat`, `rcsops.Agent`), "server" the embedded SIP server.
"""


def page(told: Words, held: list[Held]) -> str:
    """docs/conformance.md."""
    numbers = {(each.rfc, each.number) for each in told.sections}
    tests: dict[tuple[str, str], list[Held]] = {}
    for each in held:
        tests.setdefault(home(each, numbers) or (each.rfc, each.section), []).append(each)
    parts = [_HEAD, _summary(told, tests)]
    for rfc, title in told.titles.items():
        parts.append(f"## RFC {rfc}: {title}\n")
        parts += [
            _section(each, tests.get((each.rfc, each.number), []))
            for each in told.sections
            if each.rfc == rfc
        ]
    others = sorted(set(tests) - numbers, key=_order)
    parts.append("## What else tests name\n")
    parts += [f"**RFC {rfc}, {number}.** {_tests(tests[rfc, number])}\n" for rfc, number in others]
    return "\n".join(parts)


def _order(key: tuple[str, str]) -> tuple[int, list[int]]:
    return int(key[0]), [int(part) if part.isdigit() else 0 for part in key[1].split(".")]


def _summary(told: Words, tests: dict[tuple[str, str], list[Held]]) -> str:
    lines = [
        "| RFC | sections | done and tested | done, no test | not done |",
        "|---|---|---|---|---|",
    ]
    without = []
    for rfc in told.titles:
        sections = [each for each in told.sections if each.rfc == rfc]
        done = [each for each in sections if each.does]
        bare = [each for each in done if (each.rfc, each.number) not in tests]
        without += [f"{rfc} §{each.number}" for each in bare]
        counts = (len(sections), len(done) - len(bare), len(bare), len(sections) - len(done))
        lines.append(f"| {rfc} | {' | '.join(map(str, counts))} |")
    lacking = ", ".join(without) or "none"
    return "\n".join(lines) + f"\n\nDone, but without a test: {lacking}.\n"


def _section(section: Section, held: list[Held]) -> str:
    lines = [f"### {section.number} {section.title}\n"]
    lines.append(section.does or "Not done.")
    if section.omits:
        lines.append(f"\nLeft out: {section.omits}")
    if held or section.does:
        lines.append(f"\n{_tests(held) if held else '**No test.**'}")
    return "\n".join(lines) + "\n"


def _tests(held: list[Held]) -> str:
    """The tests by file, in the words of their names."""
    by_file: dict[str, list[str]] = {}
    for each in held:
        by_file.setdefault(each.file, []).append(each.test.removeprefix("test_").replace("_", " "))
    return "Tests: " + "; ".join(
        f"[{file.removeprefix('tests/')}](../{file}): {', '.join(dict.fromkeys(names))}"
        for file, names in by_file.items()
    )


def main() -> int:
    PAGE.write_text(page(words(), markers()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
