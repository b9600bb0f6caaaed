"""Sends a message of the corpus by UDP and waits for what comes back."""

import ipaddress
import itertools
import os
import re
import socket

BOUND = 20.0
STATUS = re.compile(rb"^SIP/2\.0 ([0-9]{3})", re.M)
_SENT_BY = re.compile(
    rb"^(?:via|v)[ \t]*:\s*sip\s*/\s*[0-9.]+\s*/\s*\w+\s+(?:\[[^]]*\]|[^\s;:,]+)(?::([0-9]+))?",
    re.I | re.M,
)
_numbers = itertools.count(1)


def own_address() -> str:
    """A loopback address that nobody else uses: the server may count what comes from each."""
    number = (os.getpid() % 16000) * 1024 + 256 + next(_numbers)
    return str(ipaddress.IPv4Address(0x7F000000 + number % 0xFFFFFF))


def probe(transport: str, host: str, port: int) -> bytes:
    number = next(_numbers)
    return (
        f"OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{transport} {host}:{port};rport;"
        f"branch=z9hG4bKprobe{number}\r\nFrom: <sip:probe@example.net>;tag=p\r\n"
        f"To: <sip:example.com>\r\nCall-ID: probe{number}\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def is_probe(data: bytes) -> bool:
    return b"Call-ID: probe" in data


def over_udp(where: tuple[str, int], data: bytes, *, silent: bool) -> list[int]:
    """The statuses that come for a datagram; the answer to a probe sent behind it ends the wait."""
    # RFC 3261 §18.2.2: without rport the answer goes to the port of sent-by.
    found = _SENT_BY.search(data)
    port = int(found[1] or 5060) if found else 5060
    statuses = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        host = own_address()
        sender.bind((host, port))
        sender.settimeout(BOUND)
        sender.sendto(data, where)
        sender.sendto(probe("UDP", host, port), where)
        probed = False
        while not (probed and (silent or statuses)):
            answer = sender.recv(65535)
            if is_probe(answer):
                probed = True
            else:
                statuses += [int(status) for status in STATUS.findall(answer)]
    return statuses
