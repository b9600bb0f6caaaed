"""Asking a running server over its management interface, on either engine.

Three transports, chosen by ``mi.transport``: the FIFO, the Unix socket, and HTTP on loopback. All
go through the ``opensips`` package, behind the guards of :mod:`rcsops.operations.mi_guard`.
"""

import contextlib
import difflib
import json
import re
import time
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensips.mi import OpenSIPSMI, OpenSIPSMIException
from opensips.mi.jsonrpc_helper import JSONRPCError

from rcsops.errors import MiError, MiUnreachable, UsageError
from rcsops.operations.mi_guard import GuardedDatagram, GuardedFifo, GuardedHttp, GuardError
from rcsops.operations.mi_names import other_name
from rcsops.operations.names import account_name, bound_name
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project

__all__ = [
    "Contact",
    "Dialog",
    "MiClient",
    "ask",
    "commands",
    "contacts",
    "dialogs",
    "forget_contacts",
    "parse_words",
]

# Commands that only tell something may be given twice.
_QUESTION = re.compile(r"(?:^|[_:])(?:dump|get|list|ps|show|which)(?:_|$)")
_OF_STATISTICS = {
    *("get_statistics", "list_statistics", "reset_statistics"),
    *("statistics:get", "statistics:list", "statistics:reset"),
}
# Who is given these has gone before the answer.
_ENDING = ("kill", "core:kill")
_END_SECONDS = 2.0
_NOT_FOUND = 404
_NO_METHOD = -32601


class MiClient:
    """Commands to the server whose files are ``files``.

    ``transport`` is "fifo", "datagram" or "http", the latter to ``url``; every call ends within
    ``timeout`` seconds. ``place`` is where they go: a path, or the URL. Raises `MiUnreachable` when
    nobody answers and `MiError`, with the code, when the answer is an error.
    """

    def __init__(
        self,
        files: RunFiles,
        *,
        transport: str = "fifo",
        timeout: float = 5.0,
        url: str = "",
        ca: Path | None = None,
    ) -> None:
        self._mi = OpenSIPSMI(
            "fifo",
            fifo_file=str(files.fifo),
            fifo_file_fallback=str(files.fifo),
            fifo_reply_dir=str(files.directory),
        )
        fifo = GuardedFifo(files, timeout)
        self._for_large = fifo if transport == "datagram" else None
        if transport == "http":
            self._mi.conn, self.place = GuardedHttp(url, timeout, ca=ca), url
        elif transport == "datagram":
            self._mi.conn, self.place = GuardedDatagram(files, timeout), str(files.socket)
        else:
            self._mi.conn, self.place = fifo, str(files.fifo)

    @classmethod
    def of(cls, project: Project, *, timeout: float = 5.0) -> "MiClient":
        """The client of a project, by its settings."""
        settings = project.settings
        transport = settings.mi_transport
        if transport == "http" and settings.engine == "embedded":
            # It has none; its FIFO serves everybody who may read these settings.
            transport = "fifo"
        return cls(
            RunFiles(project.run_dir),
            transport=transport,
            timeout=timeout,
            url=f"http://{settings.mi_http}/mi",
        )

    @classmethod
    def at(cls, url: str, *, timeout: float = 5.0, ca: Path | None = None) -> "MiClient":
        """The client of any server that has MI at an http or https URL."""
        try:
            parts = urllib.parse.urlsplit(url)
            usable = (
                parts.scheme.lower() in ("http", "https") and parts.hostname and parts.port != 0
            )
        except ValueError:  # a port that is none, brackets without an end
            usable = False
        if not usable:
            raise UsageError(f"{url!r} is not a URL", hint="write it like https://host:8888/mi")
        return cls(RunFiles(Path()), transport="http", timeout=timeout, url=url, ca=ca)

    def call(self, command: str, params: Mapping[str, object] | Sequence[object] = ()) -> Any:
        """The result of a command; ``params`` by name or by position.

        A command that the server does not know by this name is tried by the one that it has in
        other releases (`other_name`).
        """
        try:
            return self._call(command, params)
        except MiError as error:
            other = other_name(command) if error.code == _NO_METHOD else None
            if other is None:
                raise
            try:
                return self._call(other, params)
            except MiError as second:
                # Neither is known: what was typed is what the person should read of.
                raise error if second.code == _NO_METHOD else second from None

    def _call(self, command: str, params: Mapping[str, object] | Sequence[object]) -> Any:
        given: object = dict(params) if isinstance(params, Mapping) else list(params)
        try:
            return self._mi.execute(command, given)
        except OpenSIPSMIException as error:
            cause = error.__cause__
            if isinstance(cause, JSONRPCError):
                detail = cause.get_data()
                message = str(cause.message)
                # -32000 and up are ours and OpenSIPS's own; their message says it all.
                text = f"{message} ({detail})" if detail else message
                raise MiError(text, code=_code(cause.code)) from error
            if not isinstance(cause, GuardError):
                raise MiUnreachable(str(cause or error), running=True) from error
            if cause.too_large and self._for_large is not None and _QUESTION.search(command):
                self._mi.conn, self._for_large = self._for_large, None
                return self._call(command, params)
            raise MiUnreachable(str(cause), running=cause.running, hint=cause.hint) from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            # What came is JSON, but no answer.
            raise MiUnreachable("the answer is not one of a SIP server", running=True) from error


def _code(value: object) -> int:
    return value if isinstance(value, int) else -32000


def parse_words(words: Sequence[str]) -> Mapping[str, object] | Sequence[object]:
    """Arguments of a command line as parameters: ``name=value`` each, or values by position.

    A value that is a JSON list or object, or a number, is taken as such.
    """
    pairs = [word.partition("=") for word in words]
    if words and all(separator and name.isidentifier() for name, separator, _ in pairs):
        return {name: _value(value) for name, _, value in pairs}
    return [_value(word) for word in words]


def _value(text: str) -> object:
    if text[:1] in "[{" or text.lstrip("-").isdigit():
        with contextlib.suppress(ValueError):
            return json.loads(text)
    return text


def commands(client: MiClient) -> list[str]:
    """The commands that the server knows, each by all of its names; raises `MiError`."""
    listed = [str(name) for name in client.call("which")]
    # The list has the new names alone from 4.0 on, and the old ones before.
    return sorted({*listed, *filter(None, map(other_name, listed))})


@dataclass(frozen=True, slots=True)
class Contact:
    """One contact as the server tells it; ``expires`` in seconds from now."""

    user: str
    contact: str
    expires: int | str
    q: str
    received: str
    user_agent: str
    call_id: str


def ask(client: MiClient, command: str, params: Mapping[str, object] | Sequence[object]) -> Any:
    """`MiClient.call` for a person: the error for an unknown command names a similar one, and the
    names of statistics, which OpenSIPS wants as a list, may be given one after the other. A server
    that ended when it was told to has done so well, though OpenSIPS does not say it."""
    if command in _OF_STATISTICS and params and not isinstance(params, Mapping):
        names = [name for each in params for name in (each if isinstance(each, list) else [each])]
        params = {"statistics": names}
    try:
        return client.call(command, params)
    except MiUnreachable as error:
        if command in _ENDING and error.running and _has_ended(client):
            return "OK"
        raise
    except MiError as error:
        if error.code != _NO_METHOD:
            raise
        near: list[str] = []
        with contextlib.suppress(MiError):
            near = difflib.get_close_matches(command, commands(client), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "rcsops mi which lists the commands"
        text = f"{error}: the server knows no command {command!r}"
        raise MiError(text, code=error.code, hint=hint) from error


def _has_ended(client: MiClient) -> bool:
    deadline = time.monotonic() + _END_SECONDS
    while True:
        try:
            client.call("uptime")
        except MiUnreachable as error:
            if not error.running:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def contacts(project: Project, user: str | None = None, *, timeout: float = 5.0) -> list[Contact]:
    """Every contact of the running server, or those of ``user`` (a name, or user@domain).

    Raises `MiError`.
    """
    client = MiClient.of(project, timeout=timeout)
    unescaped = project.settings.engine == "opensips"
    if user is None:
        domains = client.call("ul_dump")["Domains"]
        records = [record for domain in domains for record in domain["AORs"]]
    else:
        name, _, domain = (user if "@" in user else f"{user}@").rpartition("@")
        aor = f"{bound_name(name) if unescaped else name}@{domain or project.settings.domain}"
        try:
            record = client.call("ul_show_contact", {"table_name": "location", "aor": aor})
        except MiError as error:
            if error.code == _NOT_FOUND:
                return []
            raise
        records = [record]
    return [
        Contact(
            user=_account(str(record.get("AOR", ""))) if unescaped else str(record.get("AOR", "")),
            contact=str(each.get("Contact", "")),
            expires=each.get("Expires", ""),
            q=str(each.get("Q", "")),
            received=str(each.get("Received", "")),
            user_agent=str(each.get("User-agent", "")),
            call_id=str(each.get("Callid", "")),
        )
        for record in records
        for each in record.get("Contacts", [])
        # OpenSIPS still lists what it has yet to remove from its database.
        if each.get("Expires") not in ("deleted", "expired")
    ]


def _account(aor: str) -> str:
    name, at, domain = aor.rpartition("@")
    return f"{account_name(name)}{at}{domain}"


def forget_contacts(project: Project, user: str, domain: str) -> None:
    """Takes all contacts of a user out of the running server's memory; raises `MiError`,
    `MiUnreachable` without ``running`` when there is no server."""
    aor = f"{bound_name(user) if project.settings.engine == 'opensips' else user}@{domain}"
    try:
        MiClient.of(project).call("ul_rm", {"table_name": "location", "aor": aor})
    except MiError as error:
        if error.code != _NOT_FOUND:
            raise


@dataclass(frozen=True, slots=True)
class Dialog:
    """One call that is set up or going on; ``started`` in seconds since 1970, 0 before that."""

    state: str
    caller: str
    callee: str
    started: int
    expires: int
    call_id: str


def dialogs(project: Project) -> list[Dialog]:
    """The calls that the running server knows of; raises `MiError`."""
    try:
        answer = MiClient.of(project).call("dlg_list")
    except MiError as error:
        if error.code != _NO_METHOD:
            raise
        raise MiError(
            "this server does not keep a list of calls",
            code=error.code,
            hint="an OpenSIPS with the module dialog does: rcsops install --modules dialog",
        ) from error
    return [
        Dialog(
            state=_STATES.get(_number(each.get("state")), str(each.get("state", ""))),
            caller=str(each.get("from_uri", "")),
            callee=str(each.get("to_uri", "")),
            started=_number(each.get("timestart")),
            expires=_number(each.get("timeout")),
            call_id=str(each.get("callid", "")),
        )
        for each in _dialog_records(answer)
    ]


# As in OpenSIPS's dlg_hash.h; 3 has had its 2xx but no ACK yet.
_STATES = {1: "calling", 2: "ringing", 3: "answered", 4: "established", 5: "ended"}


def _dialog_records(answer: Any) -> Iterator[Mapping[str, Any]]:
    listed = answer.get("Dialogs", []) if isinstance(answer, Mapping) else answer
    for each in listed:
        # 3.0 has each one in an object of its own.
        yield each.get("dialog", each) if isinstance(each, Mapping) else {}


def _number(value: object) -> int:
    if isinstance(value, (int, str)) and str(value).isdecimal():
        return int(value)
    return 0
