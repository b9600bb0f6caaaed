"""The tree of exceptions.

::

    RcsopsError                      anything rcsops itself reports; `hint` says what to do next
    ├── UsageError                   the command was asked wrongly (exit code 2)
    ├── SettingsError                rcsops.toml or a file of credentials cannot be used
    ├── DatabaseError                the database cannot be reached, read or written
    ├── EngineError                  the SIP server did not start, stop or answer as it should
    ├── MiError                      the management interface refused a command
    │   └── MiUnreachable            ... or nobody answers there
    ├── AgentError                   the user agent could not do what it was asked
    │   ├── RegistrationError        the registrar refused, or no answer came
    │   ├── InviteError              the peer or the proxy refused the session
    │   │   └── MsrpUnreachable      ... or it had no MSRP connection
    │   ├── SessionClosed            the session is over
    │   ├── DeliveryError            a message was not delivered
    │   └── TransferError            a file did not get through, or not whole
    └── ProtocolError                a protocol was broken
        ├── LocalProtocolError       ... by our caller: a programming error
        └── RemoteProtocolError      ... by the peer; `status` is the answer it deserves
            ├── SipParseError        bytes that are not SIP (also a ValueError)
            ├── SdpParseError        bytes that are not SDP (also a ValueError)
            ├── MsrpParseError       bytes that are not MSRP (also a ValueError)
            └── CpimParseError       bytes that are not CPIM or IMDN (also a ValueError)
"""

from typing import Any


class RcsopsError(Exception):
    """Base of everything that rcsops raises on purpose.

    ``hint`` is one sentence for a person: what to do next. ``exit_code`` is what the command line
    ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    @property
    def one_line(self) -> str:
        """The message, with the hint in brackets if there is one."""
        return f"{self} ({self.hint})" if self.hint else str(self)


class UsageError(RcsopsError):
    """The command was asked wrongly."""

    exit_code = 2


class SettingsError(RcsopsError):
    """rcsops.toml, an environment variable or a file of credentials cannot be used."""


class DatabaseError(RcsopsError):
    """The database cannot be reached, read or written."""


class EngineError(RcsopsError):
    """The SIP server did not start, stop or answer as it should."""


class MiError(RcsopsError):
    """The management interface refused a command; ``code`` is its JSON-RPC error code."""

    def __init__(self, message: str, *, code: int = -32000, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class MiUnreachable(MiError):
    """Nobody answers at the management interface; ``running`` when somebody is there, but stuck or
    not to be spoken to."""

    def __init__(self, message: str, *, running: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.running = running


class AgentError(RcsopsError):
    """The user agent could not do what it was asked; ``status`` is the SIP status or 0."""

    def __init__(self, message: str, *, status: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class RegistrationError(AgentError):
    """The registrar refused, or no answer came."""


class InviteError(AgentError):
    """The peer or the proxy refused the session."""


class MsrpUnreachable(InviteError):
    """The session was agreed on, but no MSRP connection came about."""


class SessionClosed(AgentError):
    """The session is over."""


class DeliveryError(AgentError):
    """A message was not delivered."""


class TransferError(AgentError):
    """A file did not get through, or not whole."""


class ProtocolError(RcsopsError):
    """A protocol was broken."""


class LocalProtocolError(ProtocolError):
    """Our own caller broke the protocol: a programming error."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; ``status`` and ``reason`` are the answer it deserves."""

    def __init__(
        self, message: str, *, status: int = 400, reason: str = "", hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class SipParseError(RemoteProtocolError, ValueError):
    """Bytes that are not SIP (RFC 3261 §7, §25).

    ``partial`` is the ``rcsops.sip.Request`` as far as it could be read, so that a server can
    answer it; None when there is nothing to answer.
    """

    partial: Any = None


class SdpParseError(RemoteProtocolError, ValueError):
    """Bytes that are not SDP (RFC 8866)."""


class MsrpParseError(RemoteProtocolError, ValueError):
    """Bytes that are not MSRP (RFC 4975 §9)."""


class CpimParseError(RemoteProtocolError, ValueError):
    """Bytes that are not CPIM (RFC 3862), IMDN (RFC 5438) or isComposing (RFC 3994)."""
