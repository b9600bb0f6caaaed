"""``[limits]`` of rcsops.toml: what the embedded server allows to strangers and to its users."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, fields

from rcsops.settings.values import whole

__all__ = ["LIMIT_CHECKS", "Limits"]

_MOST = 10_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in octets; docs/server.md says what each is for.

    0 turns ``rate``, ``login_failures`` and ``queue_milliseconds`` off.
    """

    connections: int = 4096
    connections_per_source: int = 1024
    idle_seconds: int = 7200
    message_seconds: int = 30
    head: int = 65536
    body: int = 262144
    transactions: int = 250_000
    forwards: int = 50_000
    contacts_per_user: int = 10
    rate: int = 100
    burst: int = 400
    login_failures: int = 10
    failure_seconds: int = 300
    ban_seconds: int = 300
    queue_milliseconds: int = 100
    retry_after: int = 5
    trusted: tuple[str, ...] = ("127.0.0.0/8", "::1/128")


def _networks(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)):
        raise ValueError("must be a list of networks")
    found = []
    for item in items:
        try:
            found.append(str(ipaddress.ip_network(str(item).strip(), strict=False)))
        except ValueError:
            raise ValueError(
                f'{str(item)[:60]!r} is not a network; write it like "192.0.2.0/24"'
            ) from None
    return tuple(dict.fromkeys(found))


_MAY_BE_OFF = ("rate", "login_failures", "queue_milliseconds")

LIMIT_CHECKS: dict[str, Callable[[object], object]] = {
    field.name: whole(0 if field.name in _MAY_BE_OFF else 1, _MOST)
    for field in fields(Limits)
    if field.name != "trusted"
} | {"trusted": _networks}
