"""How each line of releases writes what all of them can do.

Between 3.0 and 3.4 the arguments of functions turned from letters and numbers into names; that is
the one branch that the templates have. What came later is asked for by its line.
"""

from typing import Any

from rcsops.opensips.releases import Line

# RFC 8760's names as OpenSIPS writes them.
_NEW = (3, 4)


def dialect(line: Line, algorithms: tuple[str, ...], max_contacts: int) -> dict[str, Any]:
    """The words of a line of releases, by the names that the templates use."""
    old = line < _NEW
    offered = ",".join(algorithms)
    return {
        "old": old,
        "socket": "listen" if old else "socket",
        "flag": (lambda name: name) if old else (lambda name: f'"{name}"'),
        "proto": "$proto" if old else "$socket_in(proto)",
        # A private address in Contact (1), or a Via that names another address (2) or port (16)
        # than the packet's.
        "nat_request": "19" if old else '"private-contact,diff-ip-src-via,diff-port-src-via"',
        "nat_reply": "1" if old else '"private-contact"',
        # A Contact that names another address than the packet's.
        "nat_other_host": "32" if old else '"diff-ip-src-contact"',
        # qop="auth" (RFC 7616 §3.3).
        "challenge": "1" if old else f'"auth", "{offered}"',
        "save_flags": f'"c{max_contacts}f"' if old
        else f'"max-contacts={max_contacts},force-registration"',
        "lookup_flags": '"m"' if old else '"method-filtering"',
        "no_auto_477": "0x02" if old else '"no-auto-477"',
        "tls_method": "TLSv1_2" if old else "TLSv1_2-TLSv1_3",
        "sqlite_busy": line >= (3, 6),
    }  # fmt: skip
