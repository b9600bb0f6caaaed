"""Ending a process that this one has started."""

import subprocess


def end_child(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Asks it to end by SIGTERM, waits so many seconds, and kills it where it stands still."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
