"""``rcsops install`` with OpenSIPS itself: what the machine has is adopted, a source is built.

RCSOPS_TEST_OPENSIPS names prefixes, RCSOPS_TEST_OPENSIPS_SOURCE a source as ``--from`` takes it (a
git repository with the tags serves all releases); RCSOPS_TEST_OPENSIPS_BUILD which releases are
built from it (3.6 unless told otherwise; each takes minutes).
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rcsops.opensips import RELEASES, Installation, find, inspect
from rcsops.settings import Project
from tests.live.conftest import ON_EVERY_RELEASE

pytestmark = pytest.mark.feature("install")

SOURCE = os.environ.get("RCSOPS_TEST_OPENSIPS_SOURCE", "")
BUILD = os.environ.get("RCSOPS_TEST_OPENSIPS_BUILD", "3.6").split(",")


def rcsops(directory: Path, *words: str) -> Any:
    (directory / "rcsops.toml").touch()
    done = subprocess.run(
        [sys.executable, "-m", "rcsops", *words, "--json"],
        cwd=directory,
        env={**os.environ, "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("server", ON_EVERY_RELEASE)
def test_adopting_what_is_here(server: Installation, tmp_path: Path) -> None:
    result = rcsops(tmp_path, "install", "--adopt", str(server.prefix))
    assert result["version"] == server.version
    found = find(Project.find(tmp_path))
    assert found is not None
    assert found.binary == server.binary
    assert Project.find(tmp_path).settings.engine == "opensips"
    # It serves as it is: nothing is built for it or changed in it.
    assert rcsops(tmp_path, "install")["already"] is True


@pytest.mark.skipif(not SOURCE, reason="RCSOPS_TEST_OPENSIPS_SOURCE names no source")
@pytest.mark.timeout(1800)
@pytest.mark.server("OpenSIPS, built from source")
@pytest.mark.parametrize("release", BUILD)
def test_building_a_release(release: str, tmp_path: Path) -> None:
    words = ("install", "--release", release, "--from", SOURCE)
    result = rcsops(tmp_path, *words)
    assert result["verified"] is True
    assert result["version"] in {each.version for each in RELEASES}
    assert inspect(Path(result["prefix"])).modules == tuple(result["modules"])
    assert rcsops(tmp_path, *words)["already"] is True
    more = rcsops(tmp_path, "install", "--release", release, "--modules", "dispatcher")
    assert more["built"] == ["dispatcher"]
