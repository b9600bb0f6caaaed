"""Which files of peers are taken: ``[files] rules`` of rcsops.toml."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase

__all__ = ["FileRule", "FileRules", "FileVerdict"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SIZE = re.compile(r"size(<=|>)([0-9]{1,15})(B|kB|MB|GB)?", re.IGNORECASE)
_EXAMPLE = 'write it like "accept from=bob type=image/* size<=10MB"'


class FileVerdict(StrEnum):
    """What is done with a file that a peer offers."""

    ACCEPT = "accept"
    ASK = "ask"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class FileRule:
    """``verdict`` for files that fit all the rest.

    ``peer`` ("bob", "*@rcs.example") and ``type`` ("image/*") are patterns of the shell; more than
    ``above`` octets and at most ``up_to``.
    """

    verdict: FileVerdict
    peer: str = "*"
    type: str = "*"
    above: int = -1
    up_to: int | None = None

    @classmethod
    def parse(cls, text: str) -> "FileRule":
        """Reads ``accept from=bob type=image/* size<=10MB``; raises ValueError."""
        first, *conditions = text.split() or [""]
        try:
            rule = cls(FileVerdict(first.lower()))
        except ValueError:
            verdicts = ", ".join(FileVerdict)
            raise ValueError(f"{text!r} does not begin with {verdicts}; {_EXAMPLE}") from None
        for condition in conditions:
            name, _, value = condition.partition("=")
            size = _SIZE.fullmatch(condition)
            if size:
                octets = int(size[2]) * _UNITS[(size[3] or "").upper()]
                rule = (
                    replace(rule, up_to=octets) if size[1] == "<=" else replace(rule, above=octets)
                )
            elif name == "from" and value:
                rule = replace(rule, peer=value.removeprefix("sip:"))
            elif name == "type" and value:
                rule = replace(rule, type=value.lower())
            else:
                raise ValueError(f"{condition!r} is no condition of a rule; {_EXAMPLE}")
        return rule

    def __str__(self) -> str:
        parts = [self.verdict.value]
        parts += [f"from={self.peer}"] if self.peer != "*" else []
        parts += [f"type={self.type}"] if self.type != "*" else []
        parts += [f"size>{self.above}"] if self.above >= 0 else []
        parts += [f"size<={self.up_to}"] if self.up_to is not None else []
        return " ".join(parts)

    def fits(self, peer: str, content_type: str, size: int, domain: str) -> bool:
        """Whether it is about such a file of ``peer`` (``bob@rcs.example``)."""
        wanted = self.peer if "@" in self.peer or self.peer == "*" else f"{self.peer}@{domain}"
        kind = content_type.partition(";")[0].strip().lower()
        return (
            self.above < size
            and (self.up_to is None or size <= self.up_to)
            and fnmatchcase(kind, self.type)
            and fnmatchcase(peer, wanted)
        )


@dataclass(frozen=True, slots=True)
class FileRules:
    """Rules of which the first that fits decides; what none fits is asked.

    A peer that is named without a domain is one of ``domain``.
    """

    rules: tuple[FileRule, ...] = ()
    domain: str = ""

    @classmethod
    def parse(cls, texts: Iterable[str], *, domain: str = "") -> "FileRules":
        """Reads the texts of rules; raises ValueError."""
        return cls(tuple(FileRule.parse(text) for text in texts), domain)

    def decide(self, peer: str, content_type: str, size: int) -> FileVerdict:
        """What is done with a file of ``size`` octets from ``peer`` (``sip:bob@rcs.example``)."""
        peer = peer.removeprefix("sip:").removeprefix("sips:")
        for rule in self.rules:
            if rule.fits(peer, content_type, size, self.domain):
                return rule.verdict
        return FileVerdict.ASK

    def asking(self) -> "FileRules":
        """The same, where nothing is accepted without a question."""
        asked = (
            replace(rule, verdict=FileVerdict.ASK) if rule.verdict is FileVerdict.ACCEPT else rule
            for rule in self.rules
        )
        return FileRules(tuple(asked), self.domain)
