"""Recordings of terminals, in the format of asciinema (asciicast v2): written, read, replayed.

``python -m tests.screens.recording FILE COLUMNS ROWS`` writes what it gets by stdin, with the times
when it came.
"""

import codecs
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rcsops.testing import wait_until

Event = tuple[float, str, str]

_LEAVES_SCREEN = "\x1b[?1049l"


def record(path: Path, columns: int, rows: int) -> None:
    """Writes stdin until it ends."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    head = {"version": 2, "width": columns, "height": rows, "timestamp": int(time.time())}
    began = time.monotonic()
    with path.open("w", encoding="utf-8") as file:
        print(json.dumps(head), file=file, flush=True)
        while data := os.read(0, 1 << 16):
            text = decoder.decode(data)
            event = [round(time.monotonic() - began, 6), "o", text]
            print(json.dumps(event), file=file, flush=True)


def read(path: Path) -> tuple[dict[str, int], list[Event]]:
    """The head and the events; fails where it is no asciicast v2."""
    first, *lines = path.read_text("utf-8").splitlines()
    head = json.loads(first)
    assert head["version"] == 2
    assert head["width"] > 0 and head["height"] > 0
    events = [tuple(json.loads(line)) for line in lines]
    before = 0.0
    for at, kind, data in events:
        assert isinstance(at, float) and at >= before
        assert kind == "o" and isinstance(data, str)
        before = at
    return head, events


def replayed(tmux: list[str], path: Path, *texts: str) -> None:
    """Plays a recording up to where the full screen is left, in a new terminal of its size, and
    waits until all ``texts`` are to be seen there."""
    head, events = read(path)
    played, leaves, _ = "".join(data for _, _, data in events).rpartition(_LEAVES_SCREEN)
    assert leaves, "the full screen was never left"
    raw = path.with_suffix(".raw")
    raw.write_text(played, encoding="utf-8")
    name = f"replay-{path.stem}"
    size = ["-x", str(head["width"]), "-y", str(head["height"])]
    play = f"stty -echo -opost; cat '{raw}'; exec sleep 600"
    subprocess.run(
        [*tmux, "new-session", "-d", "-s", name, *size, play],
        env={**os.environ, "LANG": "C.UTF-8"},
        check=True,
    )

    def shown() -> str:
        captured = [*tmux, "capture-pane", "-p", "-t", name]
        return subprocess.run(captured, capture_output=True, check=True).stdout.decode()

    try:
        wait_until(lambda: all(text in shown() for text in texts), what=str(texts))
    except TimeoutError:
        print(shown())
        raise


if __name__ == "__main__":
    record(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
