"""What is wrong in a configuration, and where."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from rcsops.opensips.config.render import concerns

# The password of a database URL (it may hold an @ that is not encoded), the key of the nonces, and
# the keys of secrets.cfg.
_SECRET = re.compile(
    r"(://[^:@/\s\"]*:|\"secret\w*\"\s*,\s*\"|_key\)\s*=\s*\")([^\"]+(?=@)|[^\"@]+(?=\"|$))"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """``line`` and ``column`` count from 1, 0 when unknown; ``end`` is the last column.

    ``concern`` names the block of the rendered configuration (`render.PARTS`). A ``warning`` does
    not keep the server from starting.
    """

    file: str
    line: int
    column: int
    end: int
    text: str
    source_line: str = ""
    concern: str = ""
    hint: str = ""
    warning: bool = False

    @property
    def place(self) -> str:
        """``file:line:column`` as compilers write it."""
        return ":".join([self.file, *(str(each) for each in (self.line, self.column) if each)])

    @property
    def caret(self) -> str:
        """What to print below ``source_line``: tabs where it has tabs, then ``^~~~``."""
        if not self.column or not self.source_line:
            return ""
        before = self.source_line[: self.column - 1]
        blank = "".join("\t" if each == "\t" else " " for each in before)
        width = min(self.end, len(self.source_line)) - self.column
        return f"{blank}^{'~' * max(width, 0)}"


def located(problem: Problem) -> Problem:
    """The problem with its source line and concern, as far as the file can be read."""
    try:
        text = Path(problem.file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return problem
    lines = text.splitlines()
    if not 0 < problem.line <= len(lines):
        return problem
    return replace(
        problem,
        source_line=_without_secrets(lines[problem.line - 1]),
        concern=concerns(text)[problem.line - 1],
    )


def _without_secrets(line: str) -> str:
    """The line, as long as it was, with stars for passwords and keys: people show these messages
    to others."""
    return _SECRET.sub(lambda found: found[1] + "*" * len(found[2]), line)
