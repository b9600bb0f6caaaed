"""What is encrypted on the way of a message, and what is not, in plain words."""

from dataclasses import dataclass

from textual.content import Content

__all__ = ["Security", "security_words"]


@dataclass(frozen=True, slots=True)
class Security:
    """How an agent speaks to its server: by ``transport`` ("tcp", "tls", "wss", …)."""

    transport: str

    @property
    def encrypted(self) -> bool:
        """Whether what it says to the server is encrypted on that way."""
        return self.transport in ("tls", "wss")


def security_words(security: Security, session: str) -> Content:
    """For a person who asks; ``session`` is the TLS of the shown session, "TLSv1.3", empty for one
    in clear."""
    if security.encrypted:
        to_server = (
            "Encrypted (TLS). The server has proved its name by a certificate. Everyone on the way "
            "sees that you talk to it, not what."
        )
    else:
        to_server = (
            f"Not encrypted ({security.transport.upper()}). Everyone on the way to the server sees "
            "who you are, whom you invite and when, and can change it. rcsops certs and "
            "--transport tls encrypt this way."
        )
    if session:
        to_peer = (
            f"They go directly from you to your peer, past the server, encrypted ({session}). Each "
            "side knows the other by a fingerprint that came through the server: a server that "
            "lies could put itself in between."
        )
    else:
        to_peer = (
            "They go directly from you to your peer, past the server. They are not encrypted: "
            "everyone on the way between the two of you can read and change them."
        )
    sections = (
        ("Between you and the server (SIP)", to_server),
        ("Messages and files of a session (MSRP)", to_peer),
        (
            "Messages without a session (SIP MESSAGE)",
            "They go through the server, which can read them, and keeps them while your peer is "
            "away.",
        ),
        (
            "End to end",
            "There is no end-to-end encryption. A padlock would mean that nobody but your peer can "
            "read what you write, so you see none here.",
        ),
        ("Your password", "It never crosses the network (digest authentication)."),
    )
    parts: list[Content] = []
    for title, words in sections:
        parts += [Content.styled(f"{title}\n", "bold $primary"), Content(f"{words}\n\n")]
    return Content.assemble(*parts[:-1], Content(sections[-1][1]))
