"""What ``opensips -C`` does not see: routes that are not there, relative paths, a dead database.

Works on the text alone, and so without any OpenSIPS.
"""

import difflib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import DatabaseError
from rcsops.opensips.config.problem import Problem, located
from rcsops.opensips.releases import Line

_DEFINED = re.compile(
    r"\b(?P<kind>(?:failure_|onreply_|branch_)?route)\s*\[\s*\"?(?P<name>[\w.-]+)"
)
_CALLED = re.compile(r"\broute\(\s*\"?(?P<name>[\w.-]+)")
_ARMED = re.compile(r"\bt_on_(?P<event>failure|reply|branch)\(\s*\"(?P<name>[^\"]+)\"")
_INCLUDED = re.compile(r"^\s*(?:include_file|import_file)\s*\"(?P<path>[^\"]*)\"", re.MULTILINE)
_MPATH = re.compile(r"^\s*mpath\s*=\s*\"(?P<path>[^\"]*)\"", re.MULTILINE)
_MODPARAM = re.compile(
    r"\bmodparam\(\s*\"(?P<module>[^\"]+)\"\s*,\s*\"(?P<name>[^\"]+)\"\s*,\s*\"(?P<value>[^\"]*)\""
)
_DATABASE = re.compile(r"\bdb_default_url\s*=\s*\"(?P<url>[^\"]*)\"")
_KINDS = {"failure": "failure_route", "reply": "onreply_route", "branch": "branch_route"}
# Parameters that name a file or directory which must be there, or one that will be made.
_READ = {"certificate", "private_key", "ca_list", "dh_params"}
_MADE = {"fifo_name", "socket_name"}
_DIRECTORIES = {"reply_dir", "ca_dir", "crl_dir"}
_MAX_INCLUDED = 32


@dataclass(frozen=True, slots=True)
class _Source:
    """A file: as it is, and with what is in comments (and strings) blanked out."""

    path: Path
    text: str
    code: str
    bare: str

    def problem(self, match: "re.Match[str]", group: str, text: str, **more: object) -> Problem:
        start, end = match.span(group)
        line_start = self.text.rfind("\n", 0, start) + 1
        return located(
            Problem(
                str(self.path),
                self.text.count("\n", 0, start) + 1,
                start - line_start + 1,
                end - line_start,
                text,
                **more,  # type: ignore[arg-type]
            )
        )

    def find(self, pattern: "re.Pattern[str]") -> "Iterator[re.Match[str]]":
        """What a pattern finds outside of comments, and not within a string."""
        for match in pattern.finditer(self.code):
            if self.bare[match.start() : match.start() + 3].strip():
                yield match


def lint(path: Path, *, line: Line | None = None, database: bool = True) -> list[Problem]:
    """What is wrong with a configuration and the files that it includes.

    ``line`` is that of the release that will run it (None: unknown, so the tables are not looked
    at); without ``database`` nothing is connected to.
    """
    sources: list[_Source] = []
    problems = list(_read(path, sources))
    problems += _routes(sources)
    for source in sources:
        problems += _paths(source)
        if database:
            problems += _databases(source, line)
    return problems


def _read(path: Path, sources: list[_Source]) -> Iterator[Problem]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        yield Problem(str(path), 0, 0, 0, f"cannot be read: {error.strerror}")
        return
    code, bare = blanked(text)
    source = _Source(path, text, code, bare)
    sources.append(source)
    for match in _INCLUDED.finditer(code):
        included = Path(match["path"])
        if not included.is_absolute():
            yield source.problem(match, "path", _relative(match["path"]), hint=_ABSOLUTE)
            included = path.parent / included
        if not included.is_file():
            text = "there is no such file"
            yield source.problem(match, "path", text, hint="make it: rcsops config render")
        elif len(sources) < _MAX_INCLUDED and included not in [each.path for each in sources]:
            if _DATABASE.search(included.read_text(encoding="utf-8", errors="replace")):
                yield from _readable(source, match, included)
            yield from _read(included, sources)


def _readable(source: _Source, match: "re.Match[str]", included: Path) -> Iterator[Problem]:
    mode = stat.S_IMODE(included.stat().st_mode)
    if mode & 0o077:
        yield source.problem(
            match,
            "path",
            f"others may read the secrets in it (mode {mode:04o})",
            hint=f"chmod 600 {included}",
            warning=True,
        )


def _routes(sources: list[_Source]) -> Iterator[Problem]:
    defined: dict[tuple[str, str], int] = {}
    for source in sources:
        for match in source.find(_DEFINED):
            key = (match["kind"], match["name"])
            defined[key] = defined.get(key, 0) + 1
            if defined[key] > 1:
                text = f"{key[0]}[{key[1]}] is defined a second time"
                yield source.problem(match, "name", text)
    used: set[tuple[str, str]] = set()
    for source in sources:
        for pattern in (_CALLED, _ARMED):
            for match in source.find(pattern):
                kind = _KINDS[match["event"]] if pattern is _ARMED else "route"
                used.add((kind, match["name"]))
                if (kind, match["name"]) not in defined:
                    there = [name for each, name in defined if each == kind]
                    near = difflib.get_close_matches(match["name"], there, n=1, cutoff=0.6)
                    yield source.problem(
                        match,
                        "name",
                        f"{kind}[{match['name']}] is called, but is not defined",
                        hint=f"did you mean {near[0]}?" if near else "",
                    )
    for source in sources:
        for match in source.find(_DEFINED):
            # The routes that OpenSIPS calls itself have a number.
            if (match["kind"], match["name"]) not in used and not match["name"].isdigit():
                text = f"{match['kind']}[{match['name']}] is never called"
                yield source.problem(match, "name", text, warning=True)


_ABSOLUTE = "the server leaves the directory that it was started in: write the path from / on"


def _relative(path: str) -> str:
    return f"{path!r} is a relative path"


def _paths(source: _Source) -> Iterator[Problem]:
    for match in _MPATH.finditer(source.code):
        if not match["path"].startswith("/"):
            yield source.problem(match, "path", _relative(match["path"]), hint=_ABSOLUTE)
        elif not Path(match["path"]).is_dir():
            text = "there is no such directory of modules"
            yield source.problem(match, "path", text, hint="install OpenSIPS: rcsops install")
    for match in source.find(_MODPARAM):
        name = match["name"]
        if name not in _READ | _MADE | _DIRECTORIES:
            continue
        value = match["value"].rpartition("]")[2]
        if name == "socket_name" and value.startswith("udp:"):
            continue
        path = Path(value)
        if not path.is_absolute():
            yield source.problem(match, "value", _relative(value), hint=_ABSOLUTE)
        elif name in _READ and not path.is_file():
            yield source.problem(match, "value", f"there is no file {value}")
        elif name in _MADE and not path.parent.is_dir():
            yield source.problem(match, "value", f"there is no directory {path.parent}")
        elif name in _DIRECTORIES and not path.is_dir():
            yield source.problem(match, "value", f"there is no directory {value}")
        elif name == "reply_dir" and not value.endswith("/"):
            text = "the directory of the replies must end with /"
            yield source.problem(match, "value", text, hint=f'write "{value}/"')


def _databases(source: _Source, line: Line | None) -> Iterator[Problem]:
    # SQLAlchemy takes a moment to import, and is needed for this alone.
    from rcsops.database.engine import open_engine, reading
    from rcsops.database.shapes import shape_of
    from rcsops.database.tables import check_tables

    for match in source.find(_DATABASE):
        url = match["url"]
        if url.startswith("sqlite:/"):
            # What follows "sqlite:/" is the path, with one slash more than it needs.
            path = Path(url.removeprefix("sqlite:/"))
            if not path.is_absolute() or not url.startswith("sqlite:///"):
                text = _relative(str(path))
                yield source.problem(match, "url", text, hint='write "sqlite:///path/from/root"')
                continue
            url = f"sqlite:///{'/' + str(path).lstrip('/')}"
        try:
            with reading(open_engine(url), url) as connection:
                if line is not None:
                    check_tables(connection, shape_of(line))
        except DatabaseError as error:
            text = str(error)
            if "the database" not in text:
                text = f"the database: {text}"
            yield source.problem(match, "url", text, hint=error.hint)


def blanked(text: str) -> tuple[str, str]:
    """The text with its comments blanked, and with its comments and strings blanked.

    Both are as long as the text, line for line.
    """
    code, bare = list(text), list(text)
    position, size = 0, len(text)
    while position < size:
        character = text[position]
        if character in "\"'":
            end = position + 1
            while end < size and text[end] != character:
                end += 2 if text[end] == "\\" else 1
            _blank(bare, text, position + 1, min(end, size))
            position = end + 1
        elif character == "#" or text.startswith("/*", position):
            mark = "\n" if character == "#" else "*/"
            found = text.find(mark, position + 1)
            end = size if found < 0 else found + (len(mark) if character == "/" else 0)
            _blank(code, text, position, end)
            _blank(bare, text, position, end)
            position = end
        else:
            position += 1
    return "".join(code), "".join(bare)


def _blank(target: list[str], text: str, start: int, end: int) -> None:
    for index in range(start, end):
        if text[index] != "\n":
            target[index] = " "
