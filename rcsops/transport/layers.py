"""What stands between the octets of a connection and SIP: TLS, WebSocket."""

from abc import ABC, abstractmethod

__all__ = ["ConnectionFailed", "Layer"]


class ConnectionFailed(Exception):
    """A layer has given the connection up; its text says why, for a person."""


class Layer(ABC):
    """One layer of a connection, without I/O.

    What comes from below goes to ``receive_data``, what is to go down is fetched with
    ``data_to_send`` after every other call.
    """

    established = False
    """Whether what is above may send."""

    unfinished = False
    """Whether something for above has begun to come, and its end has not."""

    @abstractmethod
    def start(self) -> None:
        """What is below is there: the handshake begins. Raises ConnectionFailed."""

    @abstractmethod
    def receive_data(self, data: bytes) -> list[bytes]:
        """Takes what came from below; returns what is for above. Raises ConnectionFailed."""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Takes what is to go down, once established. Raises ConnectionFailed."""

    @abstractmethod
    def data_to_send(self) -> bytes:
        """What is to go down now."""

    @abstractmethod
    def close(self) -> None:
        """Says good-bye, as far as that is possible."""
