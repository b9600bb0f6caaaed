"""What a server allows and for how long: the values behind its decisions."""

from dataclasses import dataclass

__all__ = ["ServerOptions"]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds of one server; times in seconds.

    ``min_expires`` is answered 423 below (RFC 3261 §10.3), ``max_expires`` shortens what is asked
    for. ``flow_timer`` is how long a connection that a contact depends on may be silent (RFC 5626
    §5.4), 0 for ever. ``path_required_support`` makes a Path without ``Supported: path`` a 420
    (RFC 3327 §5.3).
    """

    default_expires: int = 3600
    min_expires: int = 60
    max_expires: int = 7200
    max_contacts: int = 10
    max_contacts_per_request: int = 32
    path_required_support: bool = True
    flow_timer: int = 120
    nonce_lifetime: float = 300.0
    flush_seconds: float = 1.0
    max_forks: int = 20
    follow_redirects: bool = False
    """Whether a 3xx is followed here (RFC 3261 §16.7 step 4), or told to the caller."""
    max_contexts: int = 50_000
    max_waiting: int = 2000
    """Requests that wait for the database or for a name to be resolved."""
    max_body: int = 256 * 1024
    offline_messages: int = 200
    """How many messages may wait for one user."""
    offline_expires: int = 259_200
    """For how long at most; a MESSAGE may say less in its Expires."""
    offline_after: float = 8.0
    """A user of whom no device has answered by then is away: the sender waits 32 s at most."""
    retry_after: int = 5
