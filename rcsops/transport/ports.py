"""Why nobody can listen at an address, and who has it."""

import contextlib
import errno
import shlex
from dataclasses import dataclass

import psutil

from rcsops.errors import EngineError
from rcsops.settings import Listen

__all__ = ["Holder", "cannot_listen", "holder"]

_SERVERS = ("rcsops.server", "rcsops.content")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a port; ``project`` is the directory whose server it is, "" for a program
    that is none of ours."""

    pid: int
    name: str
    project: str = ""

    def __str__(self) -> str:
        name = f"the server of the project {self.project}" if self.project else self.name
        return f"{name} (pid {self.pid})"

    @property
    def ended_by(self) -> str:
        """What a person does to get the port."""
        if self.project:
            return f"end it: rcsops -C {shlex.quote(self.project)} stop"
        return "stop that program"


def cannot_listen(address: Listen, error: OSError, *, key: str = "listen") -> EngineError:
    """The error for an address that was not to be had, which stands in ``key`` of rcsops.toml."""
    if error.errno == errno.EADDRINUSE:
        who = holder(address)
        by = f" by {who}" if who else ""
        end = who.ended_by if who else "stop the program that has it"
        return EngineError(
            f"cannot listen at {address}: the port is in use{by}",
            hint=f"{end}, or choose another port: `{key}` in rcsops.toml",
        )
    hint = f"mend `{key}` in rcsops.toml"
    if error.errno == errno.EACCES:
        hint = "ports below 1024 are root's: choose another one, or start the server as root"
    return EngineError(f"cannot listen at {address}: {error.strerror or error}", hint=hint)


def holder(address: Listen) -> Holder | None:
    """The process that has a port, as far as this user may know."""
    kind = "udp" if address.transport == "udp" else "tcp"
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind):
            if not connection.laddr or connection.laddr.port != address.port:
                continue
            if connection.pid and (kind == "udp" or connection.status == psutil.CONN_LISTEN):
                process = psutil.Process(connection.pid)
                return Holder(process.pid, process.name(), _project_of(process.cmdline()))
    return None


def _project_of(words: list[str]) -> str:
    """The project of one of our servers, by its command line."""
    for module in _SERVERS:
        if words[1:3] == ["-m", module] and words[3:4] == ["--project"]:
            return "".join(words[4:5])
    return ""
