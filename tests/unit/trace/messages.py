"""A small session as three processes would have seen it, for the tests of the trace."""

from typing import Literal

from rcsops.trace import TraceEntry

Address = tuple[str, int]

ALEX: Address = ("127.0.0.1", 40001)
SERVER: Address = ("127.0.0.1", 5060)
BOB: Address = ("127.0.0.1", 40002)
ALEX_MSRP: Address = ("127.0.0.1", 50001)
BOB_MSRP: Address = ("127.0.0.1", 50002)


def request(method: str, *, branch: str, headers: str = "", body: str = "", cseq: int = 1) -> bytes:
    return (
        f"{method} sip:bob@rcs.example SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:40001;branch=z9hG4bK{branch}\r\n"
        f"Call-ID: call-1\r\nCSeq: {cseq} {method}\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def response(status: int, reason: str, method: str, *, branch: str) -> bytes:
    return (
        f"SIP/2.0 {status} {reason}\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:40001;branch=z9hG4bK{branch}\r\n"
        f"i: call-1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def msrp(transaction: str, kind: str, headers: str = "", body: str = "") -> bytes:
    content = f"\r\n{body}\r\n" if body else ""
    return (
        f"MSRP {transaction} {kind}\r\n"
        "To-Path: msrp://127.0.0.1:50002/session-of-bob;tcp\r\n"
        "From-Path: msrp://127.0.0.1:50001/session-of-alex;tcp\r\n"
        f"{headers}{content}-------{transaction}$\r\n"
    ).encode()


def seen(
    time: float,
    node: str,
    direction: Literal["in", "out"],
    local: Address,
    remote: Address,
    data: bytes,
) -> TraceEntry:
    protocol: Literal["sip", "msrp"] = "msrp" if data.startswith(b"MSRP ") else "sip"
    transport = "tcp" if protocol == "msrp" else "udp"
    return TraceEntry(time, protocol, direction, transport, local, remote, node, data)


def sent(
    time: float, source: tuple[str, Address], target: tuple[str, Address], data: bytes
) -> list[TraceEntry]:
    """One message as both of its ends wrote it down, 1 ms under way."""
    return [
        seen(time, source[0], "out", source[1], target[1], data),
        seen(time + 0.001, target[0], "in", target[1], source[1], data),
    ]
