"""What the Tab key does in ``rcsops chat``: commands, and the files to send."""

from collections.abc import Iterable, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

__all__ = ["CommandCompleter"]

_FILES = ("/send ", "/share ")


class CommandCompleter(Completer):
    """Completes ``commands``, written as the help shows them: ``/send FILE``, ``/who``."""

    def __init__(self, commands: Iterable[str]) -> None:
        # What takes an argument gets the space that stands before it.
        self._commands: Sequence[str] = [
            f"{name} " if argument else name
            for name, _, argument in (command.partition(" ") for command in commands)
        ]
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        typed = document.text_before_cursor
        if typed.startswith(_FILES):
            path = typed.partition(" ")[2]
            yield from self._paths.get_completions(Document(path, len(path)), complete_event)
        elif typed.startswith("/"):
            for command in self._commands:
                if command.startswith(typed):
                    yield Completion(command, start_position=-len(typed))
