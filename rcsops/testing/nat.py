"""Two networks with a NAT between them, out of network namespaces of Linux."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

from rcsops.errors import EngineError

__all__ = ["NatNetwork"]

_numbers = itertools.count(1)
# For documentation (RFC 5737), so that nothing takes it for a private network.
_OUTSIDE, _ROUTER_OUTSIDE = "203.0.113.1", "203.0.113.254"
_INSIDE, _ROUTER_INSIDE = "10.11.12.13", "10.11.12.1"
_RULES = """
table ip rcsops {
  chain postrouting {
    type nat hook postrouting priority 100;
    oifname "outside" masquerade random
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "inside" accept
    ct state established,related accept
  }
}
"""


class NatNetwork:
    """Three namespaces: one inside, one outside, and a router that hides the inner one.

    A context manager. ``inside`` and ``outside`` are what to put before a command to run it there;
    end what runs in them first. All that is made is in these namespaces and goes with them:
    interfaces, routes, rules. The router gives connections and datagrams its own address and a
    random port, and lets nothing in that nobody inside has asked for. ``missing()`` says why there
    can be none on this machine, "" when there can.
    """

    host_inside = _INSIDE
    host_outside = _OUTSIDE
    router = _ROUTER_OUTSIDE
    """The address that the ones outside see."""

    def __init__(self) -> None:
        tag = f"rcsops-{os.getpid()}-{next(_numbers)}"
        self._in, self._nat, self._out = (f"{tag}-{name}" for name in ("in", "nat", "out"))
        self._made: list[str] = []

    @classmethod
    def missing(cls) -> str:
        """Why there can be none here; it makes one to find out."""
        for program, package in (("ip", "iproute2"), ("nft", "nftables")):
            if _path(program) is None:
                return f"{program} is not installed (apt-get install {package})"
        try:
            with cls():
                return ""
        except EngineError as error:
            return f"no network namespaces with a NAT here: {error}"

    @property
    def inside(self) -> tuple[str, ...]:
        """Before a command: runs it behind the NAT."""
        return (_path("ip") or "ip", "netns", "exec", self._in)

    @property
    def outside(self) -> tuple[str, ...]:
        """Before a command: runs it on the other side."""
        return (_path("ip") or "ip", "netns", "exec", self._out)

    def start(self) -> None:
        """Makes it. Raises EngineError with what `ip` or `nft` said."""
        for name in (self._in, self._nat, self._out):
            _run("ip", "netns", "add", name)
            self._made.append(name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        self._link(self._in, _INSIDE, "inside", _ROUTER_INSIDE)
        self._link(self._out, _OUTSIDE, "outside", _ROUTER_OUTSIDE)
        _run("ip", "-n", self._in, "route", "add", "default", "via", _ROUTER_INSIDE)
        router = ("ip", "netns", "exec", self._nat)
        _run(*router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        _run(*router, "nft", "-f", "-", stdin=_RULES)

    def _link(self, name: str, address: str, port: str, router: str) -> None:
        _run(
            *("ip", "-n", self._nat, "link", "add", port, "type", "veth"),
            *("peer", "name", "eth0", "netns", name),
        )
        for where, interface, own in ((name, "eth0", address), (self._nat, port, router)):
            _run("ip", "-n", where, "address", "add", f"{own}/24", "dev", interface)
            _run("ip", "-n", where, "link", "set", interface, "up")

    def unplug(self) -> None:
        """The inner network is gone, as if a cable had been pulled."""
        _run("ip", "-n", self._in, "link", "set", "eth0", "down")

    def plug(self) -> None:
        """It is back, with the same address."""
        _run("ip", "-n", self._in, "link", "set", "eth0", "up")
        # The kernel forgets a route with its link.
        _run("ip", "-n", self._in, "route", "replace", "default", "via", _ROUTER_INSIDE)

    def stop(self) -> None:
        """Takes away what was made."""
        while self._made:
            _run("ip", "netns", "delete", self._made.pop(), check=False)

    def __enter__(self) -> "NatNetwork":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _path(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def _run(program: str, *words: str, stdin: str = "", check: bool = True) -> None:
    command: Sequence[str] = (_path(program) or program, *words)
    done = subprocess.run(  # noqa: S603
        command, input=stdin, capture_output=True, text=True, timeout=30, check=False
    )
    if check and done.returncode != 0:
        raise EngineError(f"{' '.join((program, *words))}: {done.stderr.strip()[:300]}")
