"""The chat screen of two people on a real OpenSIPS."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.live.test_opensips_engine import Lab, lab
from tests.screens.windows import two_people_chat

__all__ = ["lab"]


@pytest.mark.feature("chat")
def test_two_people_on_their_screens(lab: Lab, tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    for name in ("alex", "bob"):
        lab.ok("user", "add", name, "--generate")
    lab.ok("start")
    tmux = ["tmux", "-S", str(tmp_path / "tmux"), "-f", "/dev/null"]
    try:
        two_people_chat(tmux, lab.directory, lab.environment)
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True, check=False)
