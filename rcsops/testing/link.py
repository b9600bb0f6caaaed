"""A bad network for datagrams: loss, duplicates, delays, and so a wrong order."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from rcsops.sip import Flow
from rcsops.transport.datagrams import UdpSocket

__all__ = ["LossyLink"]

Address = tuple[str, int]


class LossyLink:
    """What stands between the UDP sockets of an agent and everybody else, in both directions.

    ::

        link = LossyLink(loss=0.2, duplicate=0.1, delay=(0.0, 0.05), seed=1)
        async with AgentHost(open_udp=link.open) as host: ...

    ``loss`` and ``duplicate`` are shares from 0 to 1, ``delay`` the least and the most in seconds;
    each datagram has a delay of its own, so that they overtake each other. ``down`` lets nothing
    through: the network is gone. ``passed``, ``lost`` and ``doubled`` count datagrams. TCP is left
    alone: it hides such faults from who uses it.
    """

    def __init__(
        self,
        *,
        loss: float = 0.0,
        duplicate: float = 0.0,
        delay: tuple[float, float] = (0.0, 0.0),
        seed: int = 0,
    ) -> None:
        self.loss = loss
        self.duplicate = duplicate
        self.delay = delay
        self.down = False
        self.passed = 0
        self.lost = 0
        self.doubled = 0
        # Nothing secret: a test repeats it.
        self._random = random.Random(seed)  # noqa: S311

    def open(
        self, host: str, port: int, *, on_datagram: Callable[[bytes, Flow], None], **more: Any
    ) -> UdpSocket:
        """Opens a socket behind this link; the arguments are those of `UdpSocket`."""
        turn = more["on_turn"]

        def received(data: bytes, flow: Flow) -> None:
            on_datagram(data, flow)
            turn()

        return _Socket(
            self, host, port, lambda data, flow: self.carry(lambda: received(data, flow)), more
        )

    def carry(self, deliver: Callable[[], object]) -> None:
        """Delivers a datagram late, twice or never."""
        if self.down or self._random.random() < self.loss:
            self.lost += 1
            return
        copies = 1
        if self._random.random() < self.duplicate:
            self.doubled += 1
            copies = 2
        self.passed += 1
        loop = asyncio.get_running_loop()
        for _ in range(copies):
            loop.call_later(self._random.uniform(*self.delay), deliver)


class _Socket(UdpSocket):
    __slots__ = ("_link",)

    def __init__(
        self,
        link: LossyLink,
        host: str,
        port: int,
        on_datagram: Callable[[bytes, Flow], None],
        more: dict[str, Any],
    ) -> None:
        super().__init__(host, port, on_datagram=on_datagram, **more)
        self._link = link

    def send(self, data: bytes, remote: Address) -> str:
        self._link.carry(lambda: self._send_late(data, remote))
        return ""

    def _send_late(self, data: bytes, remote: Address) -> None:
        if self._sock.fileno() >= 0:
            super().send(data, remote)
