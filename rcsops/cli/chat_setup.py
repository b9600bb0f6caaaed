"""What ``rcsops chat`` needs before there is an agent: a secret, a server, addresses, files."""

import asyncio
import contextlib
import fcntl
import io
import ipaddress
import os
import socket
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.output import note
from rcsops.errors import DatabaseError, EngineError, UsageError

if TYPE_CHECKING:
    from rcsops.operations.names import UserName
    from rcsops.settings import Project
    from rcsops.sip import Credential, Uri
    from rcsops.trace import TraceWriter
    from rcsops.transport import TlsOptions

__all__ = [
    "agent_tls",
    "choose_bind",
    "instance_id",
    "kept_secret",
    "local_server",
    "open_standard_files",
    "secret_of",
    "tap_to",
]


def secret_of(project: "Project", account: "UserName", *, local: bool) -> "Credential":
    """What answers the server's challenges, without anything on the command line.

    ``local``: the server is the project's own, so its accounts can be looked at before a person
    has to type anything. Raises UsageError where nobody can be asked.
    """
    from rcsops.sip import Credential

    username, domain = account
    password = os.environ.get("RCSOPS_PASSWORD")
    if not password:
        kept = kept_secret(project, account)
        if kept is not None:
            return kept
        if local and domain == project.settings.domain:
            _check_account(project, account)
        if not sys.stdin.isatty():
            raise UsageError(
                f"no password of {account} is known here, and nobody is here to type it",
                hint=f"set RCSOPS_PASSWORD, or type: rcsops user passwd {username}",
            )
        password = click.prompt(f"Password for {account}", hide_input=True, err=True)
    return Credential.from_password(username, domain, str(password))


def kept_secret(project: "Project", account: "UserName") -> "Credential | None":
    """What `rcsops user` keeps for local use; None where the environment has the last word."""
    from rcsops.sip import Credential

    if os.environ.get("RCSOPS_PASSWORD"):
        return None
    kept = project.credentials.get(str(account))
    return None if kept is None else Credential(*account, kept)


def _check_account(project: "Project", account: "UserName") -> None:
    from rcsops.operations.users import require_user

    try:
        require_user(project, account)
    except DatabaseError as error:
        hint = error.hint
        if "no user" in str(error):
            hint = f"type: rcsops user add {account.username}"
        raise DatabaseError(str(error), hint=hint) from error


def local_server(project: "Project", transport: str, *, start: bool) -> str:
    """The address of the project's own server, which is started when that is wanted."""
    from rcsops.operations.server import start as start_engine
    from rcsops.operations.server import status

    address = project.settings.local_server(transport)
    if address is None:
        raise UsageError(
            f"the project's server does not listen on {transport}",
            hint="choose another --transport, or name a server with --server",
        )
    if status(project).running:
        return address.host_port
    command = "type: rcsops start (or add --start)"
    if not start:
        if not sys.stdin.isatty():
            raise EngineError("no server runs here", hint=command)
        if not click.confirm("No server runs here. Start it?", default=True, err=True):
            raise EngineError("no server runs here", hint=command)
    started = start_engine(project)
    note(f"server started at {', '.join(started.listeners)}; rcsops stop ends it")
    return address.host_port


def agent_tls(project: "Project") -> "TlsOptions":
    """Whom the agents of a project believe, and what they show of themselves."""
    from rcsops.transport import TlsOptions

    certificate, private_key = project.agent_certificate or (None, None)
    return TlsOptions(
        certificate=certificate,
        private_key=private_key,
        ca=project.authorities,
        # An authority that somebody has named is the only one that counts.
        system_ca=not project.settings.tls_ca,
    )


def choose_bind(setting: str, server: str, *, dns: Sequence[str] = ()) -> str:
    """Our own address: the one that is set, unless it cannot reach the server.

    A loopback address is no use towards another machine, which is found by asking the servers
    ``dns``; then it is every address that this machine has and will have, for it may move from one
    network to another.
    """
    if not _is_loopback(setting):
        return setting
    host = _host_of(server)
    if not host or host == "localhost" or _is_loopback(host):
        # The same family, so that both ends can meet at all.
        return "::1" if ":" in host else setting
    for address in _addresses_of(server, dns):
        if _is_loopback(address) and ":" not in address:
            return setting
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 5060))
            return "::" if ":" in address else "0.0.0.0"  # noqa: S104
    return setting


def _addresses_of(server: str, dns: Sequence[str]) -> list[str]:
    """Where a server is; nothing when that cannot be found, which the agent then says."""
    from rcsops.errors import AgentError
    from rcsops.transport.resolver import Resolver

    uri = _server_uri(server)
    if uri is None:
        return []

    async def look_up() -> list[str]:
        now = asyncio.get_running_loop().time
        resolver = Resolver(dns, now=now, fraction=lambda: 0.0)
        return [candidate.host for candidate in await resolver.resolve(uri)]

    try:
        return asyncio.run(look_up())
    except AgentError:
        return []


def _host_of(server: str) -> str:
    """The host in HOST, HOST:PORT or a SIP URI, without brackets; empty when there is none."""
    uri = _server_uri(server)
    return "" if uri is None else uri.host


def _server_uri(server: str) -> "Uri | None":
    from rcsops.sip import SipParseError, Uri

    text = server if server.lower().startswith(("sip:", "sips:")) else f"sip:{server}"
    try:
        return Uri.parse(text)
    except SipParseError:
        # The agent says what is wrong with it.
        return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextlib.contextmanager
def instance_id(directory: Path) -> Iterator[str]:
    """The agent's own URN, the same each time it starts (RFC 5626 §4.1).

    While another process chats as this user, it is a new one: with the same, the server would
    take the two for one device and forget the first.
    """
    made = f"urn:uuid:{uuid.uuid4()}"
    descriptor = os.open(directory / "instance-id", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield made
            return
        known = os.pread(descriptor, 100, 0).decode("ascii", "replace").strip()
        with contextlib.suppress(ValueError):
            made = uuid.UUID(known).urn
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{made}\n".encode("ascii"), 0)
        yield made
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def tap_to(path: Path | None, node: str) -> "Iterator[TraceWriter | None]":
    """Writes what is said on the wire to a file, if one is named."""
    if path is None:
        yield None
        return
    from rcsops.trace import TraceWriter

    with TraceWriter(path, node) as writer:
        yield writer
    if writer.error is not None:
        note(f"the trace is not whole: {writer.error.strerror}")


def open_standard_files() -> None:
    """A descriptor that was closed by who started us must not become a socket of ours."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no arrows and quotation marks shows something else instead.
        sys.stdout.reconfigure(errors="replace")
