"""Which node is behind an address: by the traces, and for strangers by what they say."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rcsops.trace.dissect import Dissected, dissect
from rcsops.trace.record import Address, TraceEntry

SERVER = "server"

_WILDCARDS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not bound to
_REMEMBERED = 20_000
_MOST_PATHS = 16
_USER = re.compile(r"sips?:([^@<>;\s\"]{1,64})@", re.IGNORECASE)
_BRANCH = re.compile(r";\s*branch\s*=\s*(z9hG4bK[^\s;,]{1,128})", re.IGNORECASE)
_PATH = re.compile(r"msrps?://(\[[^\]\s]+\]|[^/:\s]+):(\d{1,5})/([^;\s]+)")


def forget_oldest(table: dict[Any, Any], most: int) -> None:
    """Takes the oldest entries out of ``table`` until it has no more than ``most``."""
    while len(table) > most:
        del table[next(iter(table))]


class Names:
    """The names of the nodes of a ladder.

    An address that a trace was written at has that trace's name; any other is host:port. Who still
    speaks SIP is called ``server`` when that is given. With ``guess`` who receives a REGISTER is
    the server (a second one "server 2"), and an address is called by the user who speaks there: the
    sender of a request with one Via, whom a server sends one to, the owner of an MSRP path. Who
    passes on what a server was sent is that server, by a connection of its own.
    """

    def __init__(self, server: str = "", *, guess: bool = False) -> None:
        self._server = server
        self._guess = guess
        self._nodes: dict[Address, str] = {}
        self._guessed: dict[Address, str] = {}
        self._owners: dict[str, str] = {}
        self._passing: dict[str, Address] = {}
        self._servers = 0

    def learn(self, entries: Sequence[TraceEntry]) -> None:
        """Takes what these entries, in order of time, tell."""
        for entry in entries:
            if entry.direction != "seen":
                self._nodes.setdefault(entry.local, entry.node)
        if self._guess:
            for entry in entries:
                self._listen(entry)
        for table in (self._nodes, self._guessed, self._owners, self._passing):
            forget_oldest(table, _REMEMBERED)

    def ends(self, entry: TraceEntry) -> tuple[str, str]:
        """The names of the sender and the receiver of ``entry``."""
        if entry.direction == "seen":
            return self._find(entry.local, ""), self._find(entry.remote, "")
        other = self._find(entry.remote, self._server if entry.protocol == "sip" else "")
        return (entry.node, other) if entry.direction == "out" else (other, entry.node)

    def _find(self, address: Address, otherwise: str) -> str:
        found = self._nodes.get(address)
        if found is None:
            # A socket that listens on every address is known by its port.
            for wildcard in _WILDCARDS:
                found = found or self._nodes.get((wildcard, address[1]))
        found = found or self._guessed.get(address) or otherwise
        if not found:
            host, port = address
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return found

    # --- guessing ------------------------------------------------------------------------------

    def _listen(self, entry: TraceEntry) -> None:
        message = dissect(entry.protocol, entry.data)
        if entry.protocol == "msrp":
            for header, address in (("from-path", entry.source), ("to-path", entry.target)):
                found = _PATH.search(message.first(header))
                if found and found[3] in self._owners:
                    self._call(address, self._owners[found[3]])
            return
        if not message.start.startswith("SIP/"):
            self._request(entry, message)
        if "a=path:" in message.body:
            # The first who sends it is whose it is; proxies pass it on later.
            owner = self._guessed.get(entry.source, "") or self._nodes.get(entry.source, "")
            for host, port, session in _PATH.findall(message.body)[:_MOST_PATHS]:
                if session not in self._owners and owner and not is_server(owner):
                    self._owners[session] = owner
                    self._call((host.strip("[]"), int(port)), owner)

    def _request(self, entry: TraceEntry, message: Dissected) -> None:
        known = entry.target in self._guessed or entry.target in self._nodes
        if message.start.startswith("REGISTER ") and not known:
            self._servers += 1
            number = f" {self._servers}" if self._servers > 1 else ""
            self._guessed[entry.target] = f"{SERVER}{number}"
        branches = _BRANCH.findall(",".join(message.all("via")[:2]))
        if self._serves(entry.target) and branches:
            self._passing[branches[0]] = entry.target
        # Nobody else knows the branch of what went to the server.
        server = self._passing.get(branches[1]) if len(branches) > 1 else None
        if server is not None and entry.source not in self._nodes:
            self._guessed.setdefault(entry.source, self._find(server, SERVER))
        if _hops(message.all("via")) == 1 and not self._serves(entry.source):
            self._call(entry.source, _user(message.first("from")))
        if self._serves(entry.source) and not self._serves(entry.target):
            self._call(entry.target, _user(message.first("to")))

    def _serves(self, address: Address) -> bool:
        return is_server(self._guessed.get(address, "")) or is_server(self._nodes.get(address, ""))

    def _call(self, address: Address, name: str) -> None:
        # A stranger does not become the server by calling himself so.
        if name and not is_server(name):
            self._guessed.setdefault(address, name)


def is_server(name: str) -> bool:
    """Whether a node of that name is a server: "server", "server 2"."""
    return name == SERVER or name.startswith(f"{SERVER} ")


def _user(value: str) -> str:
    found = _USER.search(value)
    return found[1] if found else ""


def _hops(vias: Iterable[str]) -> int:
    return sum(via.upper().count("SIP/2.0/") for via in vias)
