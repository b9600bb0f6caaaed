"""Asking a running server over its management interface.

The ``opensips`` package makes the requests and reads the answers; its FIFO connector would wait for
ever for a server that is dead or stuck, so the files are opened here, never blocking and with a
time limit.
"""

import contextlib
import errno
import json
import os
import secrets
import select
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opensips.mi import OpenSIPSMI, OpenSIPSMIException
from opensips.mi.datagram import Datagram
from opensips.mi.fifo import FIFO
from opensips.mi.jsonrpc_helper import JSONRPCError, JSONRPCException, get_command, get_reply

from rcsops.errors import MiError, MiUnreachable
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project

__all__ = ["Contact", "MiClient", "contacts", "parse_words"]

_HINT = "to start it: rcsops start"
_READ = 65536
_MAX_REPLY = 256 << 20
_DATAGRAM_BUFFER = 1 << 20
_NOT_FOUND = 404


class MiClient:
    """Commands to the server whose files are ``files``.

    ``transport`` is "fifo" or "datagram"; every call ends within ``timeout`` seconds. Raises
    `MiUnreachable` when nobody answers and `MiError`, with the code, when the answer is an error.
    """

    def __init__(self, files: RunFiles, *, transport: str = "fifo", timeout: float = 5.0) -> None:
        self._mi = OpenSIPSMI(
            "fifo",
            fifo_file=str(files.fifo),
            fifo_file_fallback=str(files.fifo),
            fifo_reply_dir=str(files.directory),
        )
        if transport == "datagram":
            self._mi.conn = _GuardedDatagram(files.socket, timeout)
        else:
            self._mi.conn = _GuardedFifo(files, timeout)

    @classmethod
    def of(cls, project: Project, *, timeout: float = 5.0) -> "MiClient":
        """The client of a project, by its settings."""
        transport = "datagram" if project.settings.mi_transport == "datagram" else "fifo"
        return cls(RunFiles(project.run_dir), transport=transport, timeout=timeout)

    def call(self, command: str, params: Mapping[str, object] | Sequence[object] = ()) -> Any:
        """The result of a command; ``params`` by name or by position."""
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
            raise MiUnreachable(str(cause or error), hint=_HINT) from error
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            # What came is JSON, but no answer.
            raise MiUnreachable("the answer is not one of a SIP server") from error


class _GuardedFifo(FIFO):  # type: ignore[misc]
    """The package's FIFO connector with a deadline on every step."""

    def __init__(self, files: RunFiles, timeout: float) -> None:
        super().__init__(
            fifo_file=str(files.fifo),
            fifo_file_fallback=str(files.fifo),
            fifo_reply_dir=str(files.directory),
        )
        self._path = files.fifo
        self._timeout = timeout

    def execute(self, method: str, params: Any) -> Any:
        deadline = time.monotonic() + self._timeout
        name = f"rcsops_reply_{os.getpid()}_{secrets.token_hex(6)}"
        reply_path = self._path.parent / name
        request = f":{name}:{get_command(method, params)}\n".encode()
        try:
            os.mkfifo(reply_path, 0o600)
            # The reader first: the server finds the reply FIFO open when it answers.
            reply = os.open(reply_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                self._write(request, deadline)
                answer = self._read(reply, deadline)
            finally:
                os.close(reply)
        except OSError as error:
            raise JSONRPCException(_explained(error, self._path)) from error
        finally:
            with contextlib.suppress(OSError):
                reply_path.unlink()
        return get_reply(answer)

    def _write(self, request: bytes, deadline: float) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise JSONRPCException(f"{self._path} is not a FIFO")
            rest = memoryview(request)
            while rest:
                try:
                    rest = rest[os.write(fd, rest) :]
                except BlockingIOError:
                    _wait(fd, select.POLLOUT, deadline)
        finally:
            os.close(fd)

    def _read(self, fd: int, deadline: float) -> str:
        parts: list[bytes] = []
        size = 0
        while True:
            _wait(fd, select.POLLIN, deadline)
            try:
                part = os.read(fd, _READ)
            except BlockingIOError:
                continue
            if not part and not parts:
                # Nobody has opened it yet: only the first byte shows that the answer begins.
                time.sleep(0.002)
                if time.monotonic() > deadline:
                    raise JSONRPCException("the server does not answer")
                continue
            if not part:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(part)
            size += len(part)
            if size > _MAX_REPLY:
                raise JSONRPCException("the answer has no end")


class _GuardedDatagram(Datagram):  # type: ignore[misc]
    """The package's datagram connector with our time limit and a large buffer."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__(
            datagram_unix_socket=str(path),
            datagram_timeout=timeout,
            datagram_buffer_size=_DATAGRAM_BUFFER,
        )
        self.recv_sock = str(path.parent / f"reply-{os.getpid()}-{secrets.token_hex(3)}")

    def execute(self, method: str, params: Any) -> Any:
        try:
            return super().execute(method, params)
        except FileNotFoundError as error:
            # Its clean-up found nothing to remove: the directory is not there.
            raise JSONRPCException(_explained(error, Path(self.address))) from error
        except JSONRPCError:
            raise
        except JSONRPCException as error:
            raise JSONRPCException(_explained(error.args[0], Path(self.address))) from error


def _wait(fd: int, events: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(fd, events)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise JSONRPCException("the server does not answer")


def _explained(error: object, path: Path) -> str:
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, OSError):
        if error.errno in (errno.ENXIO, errno.ECONNREFUSED, errno.ENOENT):
            return "the server is not running"
        return f"{path}: {error.strerror}"
    return str(error)


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


def contacts(project: Project, user: str | None = None) -> list[Contact]:
    """Every contact of the running server, or those of ``user`` (a name, or user@domain).

    Raises `MiError`.
    """
    client = MiClient(RunFiles(project.run_dir))
    if user is None:
        records = client.call("ul_dump")["Domains"][0]["AORs"]
    else:
        aor = user if "@" in user else f"{user}@{project.settings.domain}"
        try:
            record = client.call("ul_show_contact", {"table_name": "location", "aor": aor})
        except MiError as error:
            if error.code == _NOT_FOUND:
                return []
            raise
        records = [record]
    return [
        Contact(
            user=str(record.get("AOR", "")),
            contact=str(each.get("Contact", "")),
            expires=each.get("Expires", ""),
            q=str(each.get("Q", "")),
            received=str(each.get("Received", "")),
            user_agent=str(each.get("User-agent", "")),
            call_id=str(each.get("Callid", "")),
        )
        for record in records
        for each in record.get("Contacts", [])
    ]
