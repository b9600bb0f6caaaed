import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rcsops.cli.table import COMMANDS
from tests.cli.conftest import Shell


def completed(shell: Shell, words: str, shell_name: str = "bash") -> list[str]:
    """What the shell is offered for the last word of ``words``."""
    parts = words.split(" ")
    done = shell(
        _RCSOPS_COMPLETE=f"{shell_name}_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(parts) - 1) if shell_name != "fish" else parts[-1],
    )
    lines = [line for line in done.lines if line]
    return [line.partition(",")[2] if shell_name == "bash" else line for line in lines]


def test_commands_options_and_users_are_completed(rcsops: Shell) -> None:
    assert completed(rcsops, "rcsops ") == list(COMMANDS)
    assert completed(rcsops, "rcsops install --release 3") == ["3.0.2", "3.4.18", "3.6.8"]
    assert completed(rcsops, "rcsops sta") == ["start", "status"]
    assert completed(rcsops, "rcsops --eng") == ["--engine"]
    assert completed(rcsops, "rcsops user ") == [
        *("add", "export", "import", "list", "passwd", "remove", "show")
    ]
    assert completed(rcsops, "rcsops user show ") == []
    rcsops.ok("db", "create")
    rcsops.ok("user", "add", "bob", "--generate")
    rcsops.ok("user", "add", "alex", "--generate")
    assert completed(rcsops, "rcsops user show ") == ["alex", "bob"]
    assert completed(rcsops, "rcsops user passwd b") == ["bob"]


def test_spoilt_settings_do_not_disturb_completion(rcsops: Shell) -> None:
    (rcsops.directory / "rcsops.toml").write_text("domain =")
    assert completed(rcsops, "rcsops user show b") == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_scripts_are_for_their_shells(rcsops: Shell, name: str, tmp_path: Path) -> None:
    script = rcsops.ok("completion", name).out
    assert f"_RCSOPS_COMPLETE={name}_complete" in script
    assert rcsops.ok("completion", SHELL=f"/usr/bin/{name}").out == script
    if shutil.which(name):
        (tmp_path / "script").write_text(script)
        subprocess.run([name, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_a_question(rcsops: Shell) -> None:
    done = rcsops("completion", SHELL="/bin/tcsh")
    assert done.code == 2
    assert "hint: type: rcsops completion bash | zsh | fish" in done.err


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_with_the_script(rcsops: Shell, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "rcsops"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rcsops "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(rcsops completion bash)"\n'
        "COMP_WORDS=(rcsops com) COMP_CWORD=1\n"
        "_rcsops_completion rcsops com rcsops\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=rcsops.environment | {"PATH": f"{program.parent}:{rcsops.environment['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["completion"]
