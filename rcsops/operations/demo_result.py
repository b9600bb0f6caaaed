"""What the demo has shown: who said what, every message on the wire, and what did not happen."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rcsops.trace import Arrow, ladder_json


@dataclass(slots=True)
class DemoMessage:
    """A chat message; ``status`` goes from "written" to "sent" (MSRP 200) to "delivered" (IMDN)."""

    id: str
    sender: str
    recipient: str
    text: str
    status: str = "written"
    received: bool = False


@dataclass(slots=True)
class DemoFile:
    """A file; ``intact`` says that the recipient's copy has the octets of the sender's."""

    name: str
    sender: str
    recipient: str
    size: int
    sha1: str
    status: str = "offered"
    intact: bool = False


@dataclass(slots=True)
class DemoResult:
    """The whole demo; ``problems`` lists what should have happened and did not."""

    server: str = ""
    users: list[str] = field(default_factory=list)
    messages: list[DemoMessage] = field(default_factory=list)
    files: list[DemoFile] = field(default_factory=list)
    ladder: list[Arrow] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything happened."""
        return not self.problems

    def summary(self) -> dict[str, Any]:
        """Counts of what was said and of what went over the wire."""
        return {
            "users": len(self.users),
            "messages": len(self.messages),
            "sent": sum(message.status in ("sent", "delivered") for message in self.messages),
            "delivered": sum(message.status == "delivered" for message in self.messages),
            "files": len(self.files),
            "files_intact": sum(file.intact for file in self.files),
            "sip_messages": sum(arrow.protocol == "sip" for arrow in self.ladder),
            "msrp_messages": sum(arrow.protocol == "msrp" for arrow in self.ladder),
            "retransmissions": sum(arrow.retransmission for arrow in self.ladder),
            "sip": _count(self.ladder, "sip"),
            "msrp": _count(self.ladder, "msrp"),
            "seconds": round(self.seconds, 3),
        }

    def to_json(self) -> dict[str, Any]:
        """The document of ``rcsops demo --json``."""
        return {
            "ok": self.ok,
            "server": self.server,
            "users": self.users,
            "messages": [_renamed(asdict(message)) for message in self.messages],
            "files": [_renamed(asdict(file)) for file in self.files],
            "ladder": ladder_json(self.ladder),
            "summary": self.summary(),
            "problems": self.problems,
        }


def _renamed(document: dict[str, Any]) -> dict[str, Any]:
    """``from`` and ``to``, which Python does not take as names of attributes."""
    names = {"sender": "from", "recipient": "to"}
    return {names.get(key, key): value for key, value in document.items()}


def _count(ladder: Sequence[Arrow], protocol: str) -> dict[str, int]:
    """How often each method and each status went over the wire."""
    kinds = Counter(
        arrow.summary.method or str(arrow.summary.status)
        for arrow in ladder
        if arrow.protocol == protocol
    )
    # Requests by name, then responses by number.
    return dict(sorted(kinds.items(), key=lambda item: (item[0].isdigit(), item[0])))
