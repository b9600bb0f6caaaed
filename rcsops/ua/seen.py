"""Which messages have come before, for agents without a history."""

__all__ = ["Seen"]

_MAX_SEEN = 4096


class Seen:
    """The last messages by sender and Message-ID; of each there is a hash of 64 bits."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[int, None] = {}

    def is_new(self, peer: str, message_id: str) -> bool:
        """Whether a message comes for the first time; it has come from now on."""
        # The hash of a text is keyed by a secret of the process: nobody finds two that are alike.
        key = hash((peer, message_id))
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > _MAX_SEEN:
            del self._keys[next(iter(self._keys))]
        return True
