"""Connectors of the ``opensips`` package with a guard: every step has a deadline.

The package's own FIFO connector waits for ever for a server that is dead or stuck, its datagrams
are cut at 32 KB after a tenth of a second, and its HTTP connector knows no time limit and believes
any certificate. The package makes the requests and reads the answers; the files and sockets are
opened here. A request is one object, never a batch, on which OpenSIPS's FIFO process crashes.
"""

import contextlib
import errno
import http.client
import os
import secrets
import select
import socket
import ssl
import stat
import threading
import time
import urllib.parse
from pathlib import Path
from typing import Any

from opensips.mi.datagram import Datagram
from opensips.mi.fifo import FIFO
from opensips.mi.http import HTTP
from opensips.mi.jsonrpc_helper import (
    JSONRPCError,
    JSONRPCException,
    get_command,
    get_reply,
)

from rcsops.server.run_files import RunFiles

__all__ = ["GuardError", "GuardedDatagram", "GuardedFifo", "GuardedHttp"]

_READ = 65536
_MAX_REPLY = 256 << 20
_DATAGRAM_BUFFER = 1 << 20
# What OpenSIPS's mi_datagram says, as plain text, of an answer that it cannot send.
_UNSENT = "500 Internal error"
_MAX_QUOTED = 60
# No link is followed in a directory that may be another user's.
_FIFO_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


class GuardError(JSONRPCException):  # type: ignore[misc]
    """No answer, and what to do about it; ``running`` when somebody is there all the same,
    ``too_large`` when the answer is too long for a datagram."""

    def __init__(
        self, message: str, *, hint: str = "", running: bool = True, too_large: bool = False
    ) -> None:
        super().__init__(message)
        self.hint = hint
        self.running = running
        self.too_large = too_large


class GuardedFifo(FIFO):  # type: ignore[misc]
    """Requests through the FIFO of ``files``, answers through one of our own beside it."""

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
            _let_server_write(reply_path)
            # The reader first: the server finds the reply FIFO open when it answers.
            reply = os.open(reply_path, os.O_RDONLY | _FIFO_FLAGS)
            try:
                self._write(request, deadline)
                answer = self._read(reply, deadline)
            finally:
                os.close(reply)
        except OSError as error:
            raise _explained(error, self._path) from error
        finally:
            with contextlib.suppress(OSError):
                reply_path.unlink()
        return _reply(answer)

    def _write(self, request: bytes, deadline: float) -> None:
        fd = os.open(self._path, os.O_WRONLY | _FIFO_FLAGS)
        try:
            if not stat.S_ISFIFO(os.fstat(fd).st_mode):
                raise GuardError(f"{self._path} is not a FIFO", running=False)
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
                    raise _silent()
                continue
            if not part:
                return b"".join(parts).decode("utf-8", "replace")
            parts.append(part)
            size += len(part)
            if size > _MAX_REPLY:
                raise GuardError("the answer has no end")


class GuardedDatagram(Datagram):  # type: ignore[misc]
    """Requests to the Unix socket of ``files``, answers to one of our own beside it."""

    def __init__(self, files: RunFiles, timeout: float) -> None:
        super().__init__(
            datagram_unix_socket=str(files.socket),
            datagram_timeout=timeout,
            datagram_buffer_size=_DATAGRAM_BUFFER,
        )
        self._path = files.socket

    def execute(self, method: str, params: Any) -> Any:
        request = get_command(method, params).encode()
        mine = self._path.parent / f"reply-{os.getpid()}-{secrets.token_hex(3)}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.recv_size)
                client.bind(str(mine))
                _let_server_write(mine)
                client.settimeout(self.timeout)
                client.sendto(request, str(self._path))
                answer, _, flags, _ = client.recvmsg(self.recv_size)
        except (OSError, TimeoutError) as error:
            raise _explained(error, self._path) from error
        finally:
            with contextlib.suppress(OSError):
                mine.unlink()
        text = answer.decode("utf-8", "replace")
        if flags & socket.MSG_TRUNC or text.startswith(_UNSENT):
            raise GuardError(
                "the answer does not fit a datagram",
                hint='write transport = "fifo" under [mi] in rcsops.toml',
                too_large=True,
            )
        return _reply(text)


class GuardedHttp(HTTP):  # type: ignore[misc]
    """Requests by POST to ``url``; for https its certificate must be one that is trusted.

    Straight there, whatever the environment says of proxies, and nowhere else: a management
    interface does not send us on. ``ca`` is a PEM file with what to trust instead of the system's
    certificates.
    """

    def __init__(self, url: str, timeout: float, *, ca: Path | None = None) -> None:
        super().__init__(url=url)
        self._timeout = timeout
        self._ca = ca

    def execute(self, method: str, params: Any) -> Any:
        body = get_command(method, params).encode()
        with _TimeLimit(self._timeout) as limit:
            try:
                answer = self._post(body, limit)
            except (OSError, http.client.HTTPException) as error:
                raise limit.explained(error, self.url) from error
        return _reply(answer.decode("utf-8", "replace"))

    def _post(self, body: bytes, limit: "_TimeLimit") -> bytes:
        parts = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(parts.netloc.rpartition("@")[2])
        tls = parts.scheme.lower() == "https"
        address = (parts.hostname or "", parts.port or (443 if tls else 80))
        found: socket.socket = socket.create_connection(address, self._timeout)
        limit.watch(found)
        with contextlib.closing(connection):
            connection.sock = found
            if tls:
                context = ssl.create_default_context(cafile=self._ca)
                secured = context.wrap_socket(
                    found, server_hostname=parts.hostname, do_handshake_on_connect=False
                )
                connection.sock = secured
                limit.watch(secured)
                secured.do_handshake()
            place = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("POST", place, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise GuardError(f"{self.url}: HTTP {response.status} {response.reason}")
            read = bytearray()
            while part := response.read1(_READ):
                read += part
                if len(read) > _MAX_REPLY:
                    raise GuardError("the answer has no end")
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
            return bytes(read)


class _TimeLimit:
    """Shuts a connection when the time is over, however slowly its bytes come: a time limit of the
    socket's own begins anew with each of them."""

    def __init__(self, seconds: float) -> None:
        self._socket: socket.socket | None = None
        self._over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def watch(self, connection: socket.socket) -> None:
        """Names the socket that is to be shut."""
        self._socket = connection
        if self._over:
            self._end()

    def explained(self, error: BaseException, url: str) -> GuardError:
        """What the error means."""
        return _silent() if self._over else _explained_http(error, url)

    def _end(self) -> None:
        self._over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                # Not the method of a TLS socket, which would say good-bye first.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __enter__(self) -> "_TimeLimit":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _let_server_write(path: Path) -> None:
    """What waits for the answer belongs to us; a server that runs as another user (``--user``) or
    is shared with a group must be able to write to it."""
    home = path.parent.stat()
    if os.geteuid() == 0 and home.st_uid != 0:
        os.chown(path, home.st_uid, -1, follow_symlinks=False)
    elif home.st_uid != os.geteuid():
        # We are of the group: its bit on the directory has made our file the group's as well.
        path.chmod(0o660)


def _wait(fd: int, event: int, deadline: float) -> None:
    left = deadline - time.monotonic()
    poll = select.poll()
    poll.register(fd, event)
    if left <= 0 or not poll.poll(left * 1000):
        raise _silent()


def _reply(text: str) -> Any:
    try:
        return get_reply(text)
    except JSONRPCError:
        raise
    except JSONRPCException as error:
        quoted = text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"
        raise GuardError(f"the answer is not JSON: {quoted!r}") from error


def _silent() -> GuardError:
    return GuardError(
        "the server does not answer",
        hint="rcsops logs may say why; rcsops restart ends it, whatever it does",
    )


def _not_running(more: str = "") -> GuardError:
    return GuardError(
        f"the server is not running{more}", hint="to start it: rcsops start", running=False
    )


def _explained(error: OSError, path: Path) -> GuardError:
    if isinstance(error, TimeoutError):
        return _silent()
    if error.errno in (errno.ENXIO, errno.ECONNREFUSED, errno.ENOENT):
        return _not_running()
    if error.errno in (errno.EACCES, errno.EPERM):
        closed = _closed(path)
        return GuardError(
            f"you may not use the management interface: {closed} is {_owner(closed)}",
            hint="become that user (sudo), or let a group in: rcsops start --group GROUP",
        )
    return GuardError(f"{path}: {error.strerror}")


def _closed(path: Path) -> Path:
    """What keeps us out: the file, or a directory above it that we may not enter or write to."""
    for each in reversed(path.parents):
        if not os.access(each, os.X_OK, effective_ids=True):
            return each
    return path.parent if os.access(path, os.W_OK, effective_ids=True) else path


def _owner(path: Path) -> str:
    found = path.stat()
    try:
        names = f"{path.owner()}:{path.group()}"
    except (KeyError, NotImplementedError):
        names = f"{found.st_uid}:{found.st_gid}"
    return f"{names}'s, mode {stat.S_IMODE(found.st_mode):04o}"


def _explained_http(error: BaseException, url: str) -> GuardError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return GuardError(
            f"{url}: its certificate is not to be trusted: {error.verify_message}",
            hint="name the certificate that signed it: --ca FILE",
        )
    if isinstance(error, TimeoutError):
        return _silent()
    if isinstance(error, ConnectionRefusedError):
        return _not_running(", or does not serve MI over HTTP")
    if isinstance(error, OSError):
        return GuardError(f"{url}: {error.strerror or error}")
    # What is no HTTP at all, or breaks off.
    return GuardError(f"{url}: {type(error).__name__} instead of an answer")
