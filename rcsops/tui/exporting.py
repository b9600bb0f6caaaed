"""What `/export` and the key of the protocol panel do: they write the ladder that is shown."""

import asyncio
import os
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from textual.app import App

from rcsops.errors import UsageError
from rcsops.operations.trace import without_credentials_of, write_export
from rcsops.text import visible
from rcsops.trace import Arrow
from rcsops.tui.screens.export import EXPORTS, Export, ExportScreen, suggested

__all__ = ["EXPORT_COMMAND", "export_ladder"]

EXPORT_COMMAND = {
    "/export [FORMAT [FILE]]": f"write the protocol of this conversation: {', '.join(EXPORTS)}"
}
"""The command of the screen that the plain chat has not: there is `--trace` for it."""


async def write(arrows: Sequence[Arrow], title: str, export: Export) -> None:
    """Writes a new file, in a thread; credentials are hidden unless it says otherwise.

    Raises `UsageError` when there is one of that name, or it cannot be written.
    """

    def writing() -> None:
        shown = arrows if export.show_credentials else [*map(without_credentials_of, arrows)]
        write_export(shown, export.form, export.path, title=title, explained=True)

    await asyncio.to_thread(writing)


def export_ladder(
    app: App[int], arrows: Sequence[Arrow], *, user: str, peer: str, words: str = ""
) -> None:
    """Obeys ``/export WORDS``: without a file, it asks for one. ``peer`` is "" for everything.

    Raises `UsageError` for a format that there is not, and when there are no messages.
    """
    form, _, name = words.strip().partition(" ")
    form = form or "text"
    if form not in EXPORTS:
        raise UsageError(f"{form!r} is no format", hint=f"one of {', '.join(EXPORTS)}")
    if not arrows:
        raise UsageError("no message has been sent or received yet")
    title = f"{user} and {peer}" if peer else f"all of {user}"
    writing = partial(write, arrows, title)

    def written(path: Path | None) -> None:
        if path is not None:
            app.notify(visible(f"{len(arrows)} messages in {path}"), timeout=8, markup=False)

    if name.strip():
        path = Path(os.path.expanduser(name.strip()))

        async def at_once() -> None:
            try:
                await writing(Export(form, path))
            except UsageError as error:
                app.notify(visible(error.one_line), severity="error", markup=False)
            else:
                written(path)

        app.run_worker(at_once())
        return
    suggest = partial(suggested, Path.cwd(), user, peer, now=datetime.now().astimezone())
    app.push_screen(ExportScreen(suggest, writing, form=form, count=len(arrows)), written)
