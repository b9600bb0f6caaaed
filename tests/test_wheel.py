"""The wheel, installed elsewhere, is the whole of rcsops."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from rcsops import __version__
from rcsops.testing import free_port

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.timeout(300)


def run(
    command: list[str | Path], cwd: Path, *, stdin: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    finished = subprocess.run(
        command,
        cwd=cwd,
        input=stdin,
        env={**kept, "HOME": str(cwd), "NO_COLOR": "1", **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, (command, finished.stdout, finished.stderr)
    return finished


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target)]
    run([*build, str(ROOT)], target)
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def rcsops(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment that has the wheel and none of the repository.

    What rcsops depends on is taken from the environment of the tests: it is not what is in
    question.
    """
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    (site,) = place.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    run([*pip, "--target", str(site), str(wheel)], place, PIP_DISABLE_PIP_VERSION_CHECK="1")
    for each in Path(pytest.__file__).parents[1].iterdir():
        ours = each.name.lower().startswith(("rcsops", "_rcsops", "__editable__"))
        if not ours and each.suffix != ".pth" and not (site / each.name).exists():
            (site / each.name).symlink_to(each)
    command = place / "bin" / "rcsops"
    # As pip would have written it, for this environment's Python.
    code = "import sys; from rcsops.cli.main import main; sys.exit(main())"
    command.write_text(f"#!{place / 'bin' / 'python'}\n{code}\n")
    command.chmod(0o755)
    return command


def test_it_holds_the_whole_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "rcsops").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert all(name.startswith(("rcsops/", f"rcsops-{__version__}.dist-info/")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_works_outside_the_repository(rcsops: Path, tmp_path: Path) -> None:
    python = rcsops.parent / "python"
    where = run([python, "-c", "import rcsops; print(rcsops.__file__)"], tmp_path).stdout
    assert str(ROOT) not in where
    assert __version__ in run([rcsops, "--version"], tmp_path).stdout
    port = free_port()
    listen = [f"--listen=udp:127.0.0.1:{port}", f"--listen=tcp:127.0.0.1:{port}"]
    run([rcsops, "init", "--yes", "--domain", "wheel.example", *listen], tmp_path)
    run([rcsops, "db", "create"], tmp_path)
    run([rcsops, "user", "add", "bob", "--password-stdin"], tmp_path, stdin="a long password\n")
    run([rcsops, "start"], tmp_path)
    try:
        status = json.loads(run([rcsops, "status", "--json"], tmp_path).stdout)
    finally:
        run([rcsops, "stop"], tmp_path)
    assert status["version"]
    assert any(str(port) in str(listener) for listener in status["listeners"])
    finished = subprocess.run([rcsops, "status"], cwd=tmp_path, capture_output=True)
    assert finished.returncode == 3
