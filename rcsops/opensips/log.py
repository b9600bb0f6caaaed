"""Reading OpenSIPS's log: which line says why it did not start, and what to do about it."""

import re
from dataclasses import dataclass

__all__ = ["Cause", "find_cause", "said"]

# "Nov 24 00:34:19 [4674] ERROR:core:init_mod: text"; CRITICAL of the parser has no module.
_LINE = re.compile(
    r"^\w{3} +\d+ [\d:]+ \[\d+\] (?P<level>[A-Z]+):(?:(?P<module>[\w-]+):(?P<function>[\w-]+): )?"
    r" ?(?P<text>.*)"
)
_SERIOUS = ("ERROR", "CRITICAL", "ALERT", "EMERG")


@dataclass(frozen=True, slots=True)
class Cause:
    """A line of the log without its date, and what a person can do; both may be empty."""

    text: str
    hint: str


# What people meet, by what the line says; the first that fits gives the mend.
_MENDS: tuple[tuple[str, str], ...] = (
    (r"driver error.*\(1045\)|Access denied", "set the right password: rcsops db create"),
    (r"driver error|could not connect|Can't connect|real_connect",
     "start the database, or mend database.url; see: rcsops db status"),
    (r"invalid version|table_version|check_table_version",
     "the tables are of another release: rcsops db migrate"),
    (r"no such table|doesn't exist|unable to open database",
     "make the tables: rcsops db create"),
    (r"failed to load module '?(?P<name>\w+)|module '(?P<name2>\w+)\S*' not found",
     "build it: rcsops install --modules {name}"),
    (r"could not open module", "build it: rcsops install --modules NAME"),
    (r"called route .* is not defined|undefined|parse error|bad config|syntax error",
     "see where: rcsops config check"),
    (r"[Aa]ddress already in use|failed to bind|unable to start http daemon",
     "another program has that port; choose another one in rcsops.toml"),
    (r"[Cc]annot assign requested address", "this machine has no such address: mend `listen`"),
    (r"[Pp]ermission denied", "check who owns that file, or start the server as its owner"),
    (r"not enough (?:shared |free )?(?:shm|pkg|memory)|out of memory|no more (?:shm|pkg)",
     "the machine, or the server's share of it, has too little memory"),
)  # fmt: skip
# They follow from an error before them.
_CONSEQUENCES = re.compile(
    r"Exiting|error while (?:parsing|initializing)|failed to (?:initialize|parse)|"
    r"bad config file|fixing failed|Failed to init|failed to init(?:ialize)? module"
)


def find_cause(text: str) -> Cause:
    """The line that says why the server ended, from what it wrote since its start.

    The first error is the cause of the others, except where it says less than the one after it.
    """
    errors = [line for line in map(said, text.splitlines()) if line]
    telling = [line for line in errors if not _CONSEQUENCES.search(line)] or errors
    if not telling:
        last = [line for line in text.splitlines() if line.strip()][-1:]
        return Cause(last[0] if last else "", "")
    for line in telling:
        for pattern, hint in _MENDS:
            if (found := re.search(pattern, line)) is not None:
                name = next(filter(None, found.groupdict().values()), "")
                return Cause(line, hint.replace("{name}", name))
    return Cause(telling[0], "")


def said(line: str) -> str:
    """What a line of the log says if it is about an error, without date, process and function."""
    found = _LINE.match(line)
    if found is None or found["level"] not in _SERIOUS:
        return ""
    module = found["module"]
    return f"{module}: {found['text']}" if module and module != "core" else found["text"]
