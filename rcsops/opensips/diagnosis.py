"""What went wrong in a build: the first real error in the log, its likely cause and the mend."""

import itertools
import re
from dataclasses import dataclass

from rcsops.opensips.needs import build_needs
from rcsops.opensips.packages import install_command
from rcsops.opensips.releases import Release


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``error`` is the line itself, "" when none is known as one; ``mend`` is what to do."""

    error: str
    cause: str = ""
    mend: str = ""


_COMPILER = re.compile(r"^\S+?:[0-9]+(?::[0-9]+)?: (?:fatal )?error: .*$")
_HEADER = re.compile(r"error: (\S+\.h\S*): No such file or directory")
_LINKER = re.compile(
    r"(multiple definition of|undefined reference to|cannot find -l(\S+)|file not recognized"
    r"|file truncated)"
)
_PROGRAM = re.compile(r"(?:make(?:\[\d+\])?: (\S+): No such file or directory|(\S+): not found$)")
_NOT_FOUND = re.compile(r"(?:line )?\d+: (\S+): (?:command )?not found")
_KILLED = re.compile(
    r"(Killed \(program|Killed signal terminated program|virtual memory exhausted)"
)
_DISK = re.compile(r"No space left on device")
_DENIED = re.compile(r"(Permission denied|Read-only file system)")
_RULE = re.compile(r"No rule to make target ['`]?([^'\s]+)'?")
_LAST = re.compile(r"^make(\[\d+\])?: \*\*\* (?!\[|Waiting for unfinished)(.*)$")
_FAILED = re.compile(r"^make(\[\d+\])?: \*\*\* \[")
_LONG = 300


def diagnose(log: str, release: Release, modules: tuple[str, ...]) -> Diagnosis:
    """The cause of a failed build, from what make and the compiler have printed."""
    lines = log.splitlines()
    for line in lines:
        found = _machine(line) or _program(line) or _compiler(line, release, modules)
        if found is not None:
            return found
    for line in lines:
        if (match := _RULE.search(line)) is not None:
            return Diagnosis(
                line.strip(),
                f"the source has no {match[1]}",
                "type the command again with --force, which takes a fresh copy of the source",
            )
    for line in lines:
        if (match := _NOT_FOUND.search(line)) is not None:
            return _missing_program(line, match[1])
    for line in lines:
        if _LAST.match(line):
            return Diagnosis(line.strip())
    for before, line in itertools.pairwise(lines):
        if _FAILED.match(line):
            # What the failed command said last; a whole command line says nothing.
            return Diagnosis((before if len(before) < _LONG else line).strip())
    return Diagnosis("")


def _missing_program(line: str, name: str) -> Diagnosis:
    if name.endswith("autogen.sh"):
        cause = "the source of that library is a git submodule, which no archive of a release has"
        return Diagnosis(line.strip(), cause, "leave that module out; for TLS take tls_openssl")
    mend = f"install the package that {name} is in, or leave that module out"
    return Diagnosis(line.strip(), f"{name} is missing", mend)


def _machine(line: str) -> Diagnosis | None:
    if _DISK.search(line):
        return Diagnosis(line.strip(), "the disk is full", "make room and type it again")
    if _KILLED.search(line):
        cause = "the machine has too little memory for so many compilers at once"
        return Diagnosis(line.strip(), cause, "try --jobs 1, or add memory or swap")
    if _DENIED.search(line) and not line.startswith("$"):
        cause = "this user may not write there"
        return Diagnosis(line.strip(), cause, "check who owns that file and the directory above")
    return None


def _program(line: str) -> Diagnosis | None:
    match = _PROGRAM.search(line) or _NOT_FOUND.search(line)
    if match is None:
        return None
    name = (match[1] or ((match.lastindex or 0) > 1 and match[2]) or "").rpartition("/")[2]
    packages = {"gcc": "gcc", "cc": "gcc", "bison": "bison", "flex": "flex", "yacc": "bison"}
    if name not in packages:
        return None
    return Diagnosis(line.strip(), f"{name} is not installed", install_command((packages[name],)))


def _compiler(line: str, release: Release, modules: tuple[str, ...]) -> Diagnosis | None:
    if (header := _HEADER.search(line)) is not None:
        packages = tuple(
            need.package for need in build_needs(modules, release.line) if header[1] in need.headers
        )
        if packages:
            cause = f"the package {packages[0]} is missing"
            return Diagnosis(line.strip(), cause, install_command(packages))
        cause = "the development package of a library is missing"
        mend = f"look for it with `apt-file search {header[1]}`, or leave that module out"
        return Diagnosis(line.strip(), cause, mend)
    if _COMPILER.match(line):
        cause = "this compiler is newer than the release knows" if release.ended else ""
        return Diagnosis(line.strip(), cause, "leave that module out, or take a later release")
    if (linker := _LINKER.search(line)) is None:
        return None
    if linker[1] == "multiple definition of":
        cause = "gcc 10 and later want -fcommon for so old a release"
        return Diagnosis(line.strip(), cause, "leave CC and CC_EXTRA_OPTS as they are")
    if linker[1].startswith("cannot find -l"):
        cause = f"the library {linker[2]} is missing"
        return Diagnosis(line.strip(), cause, "install its development package")
    if linker[1].startswith("file "):
        cause = "an object file is broken"
        return Diagnosis(line.strip(), cause, "type the command again with --force")
    return Diagnosis(line.strip(), "an object file or a library does not fit the rest")
