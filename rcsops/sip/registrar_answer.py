"""What the answer to a REGISTER says (RFC 3261 §10.2.4, RFC 5626)."""

from collections.abc import Iterable

from rcsops.errors import SipParseError
from rcsops.sip.auth import Challenge
from rcsops.sip.headers import NameAddr
from rcsops.sip.message import Response
from rcsops.sip.uri import Uri

LONGEST_RETRY_AFTER = 86400.0


def find_binding(
    bindings: Iterable[NameAddr], contact: Uri, instance_id: str | None, reg_id: int | None
) -> NameAddr | None:
    """Our own among all bindings of the address-of-record; None if it is not there.

    By instance and flow where the registrar knows RFC 5626, else by comparing URIs.
    """
    bindings = tuple(bindings)
    if instance_id:
        ours = f"<{instance_id}>".lower()
        for binding in bindings:
            if (binding.param("+sip.instance") or "").lower() != ours:
                continue
            flow = binding.param("reg-id")
            if reg_id is None or flow is None or flow == str(reg_id):
                return binding
    for binding in bindings:
        try:
            if binding.uri == contact:
                return binding
        except SipParseError:
            # A binding of another device that we cannot read is not ours.
            continue
    return None


def granted_expiry(binding: NameAddr, response: Response, asked: int) -> int:
    """How many seconds the binding was granted; what was asked for if the answer does not say."""
    value = binding.param("expires")
    if value is not None and value.isascii() and value.isdigit():
        return min(int(value[:10]), 2**31)
    expires = response.expires
    return asked if expires is None else expires


def refresh_after(granted: int) -> float:
    """When to refresh a binding of so many seconds: half of it, of a long one 600 s before its end.

    This is the rule of 3GPP TS 24.229 §5.1.1.4.1.
    """
    return granted / 2 if granted <= 1200 else granted - 600.0


def retry_after(response: Response) -> float | None:
    """Retry-After in seconds, from 1 to a day; None without a usable one."""
    try:
        seconds = response.retry_after
    except SipParseError:
        return None
    return None if seconds is None else min(max(1.0, float(seconds)), LONGEST_RETRY_AFTER)


def flow_timer(response: Response) -> int | None:
    """Flow-Timer in seconds (RFC 5626 §5.4); None without a usable one."""
    text = response.get("Flow-Timer") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def is_stale(response: Response) -> bool:
    """Whether a challenge says that only our nonce is too old (RFC 7616 §3.3)."""
    for name in ("WWW-Authenticate", "Proxy-Authenticate"):
        for line in response.get_all(name):
            try:
                if Challenge.parse(line).stale:
                    return True
            except SipParseError:
                # Of some other scheme, perhaps; the digest client passes over it as well.
                continue
    return False
