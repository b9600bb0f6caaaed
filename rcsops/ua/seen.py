"""Which messages have come before, for agents without a history."""

from collections import OrderedDict

__all__ = ["Seen"]

_MAX_SEEN = 4096


class Seen:
    """The last messages by sender and Message-ID."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, str], None] = OrderedDict()

    def is_new(self, peer: str, message_id: str) -> bool:
        """Whether a message comes for the first time; it has come from now on."""
        key = (peer, message_id)
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > _MAX_SEEN:
            self._keys.popitem(last=False)
        return True
