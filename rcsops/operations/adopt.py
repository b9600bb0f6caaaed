"""Taking an OpenSIPS that is on the machine already as the engine of a project."""

import os
import shutil
from pathlib import Path

from rcsops.errors import EngineError
from rcsops.opensips.installed import inspect, private_prefix
from rcsops.opensips.releases import RELEASES, minimal_modules
from rcsops.operations.init import change_settings
from rcsops.operations.install import InstallResult, release_warnings
from rcsops.settings import Project

_PLACES = ("/usr/local", "/usr", "/opt/opensips")


def adopt(project: Project, place: Path | None = None) -> InstallResult:
    """Makes the OpenSIPS with this prefix or binary the engine of the project; without ``place``
    the one on PATH or in the usual places. Nothing of it is changed.

    Raises `EngineError` where there is none that can be used.
    """
    installation = inspect(place if place is not None else on_this_machine())
    lines = sorted({release.line for release in RELEASES})
    if installation.line < lines[0]:
        raise EngineError(
            f"{installation.binary} is OpenSIPS {installation.version}: rcsops knows 3.0 and later",
            hint="build a later one beside it: rcsops install",
        )
    warnings = [*release_warnings(installation)]
    if installation.line not in lines:
        nearest = max(line for line in lines if line < installation.line)
        warnings.append(
            f"{installation.version} is not a release that rcsops is tested with; it is used like "
            f"{nearest[0]}.{nearest[1]}"
        )
    lacking = [
        name for name in minimal_modules(installation.line) if name not in installation.modules
    ]
    if lacking:
        warnings.append(
            f"it lacks modules that rcsops makes use of: {', '.join(lacking)} "
            "(on Debian they are packages such as opensips-mysql-module)"
        )
    same = os.path.abspath(installation.prefix) == os.path.abspath(
        private_prefix(project, installation.version)
    )
    changed = change_settings(
        project,
        {
            "engine": "opensips",
            "release": installation.version.partition("-")[0],
            "prefix": None if same else str(installation.prefix),
        },
    )
    return InstallResult(
        version=installation.version,
        prefix=installation.prefix,
        binary=installation.binary,
        modules=installation.modules,
        built=(),
        already=True,
        adopted=True,
        seconds=0.0,
        tree="",
        verified=False,
        settings=changed,
        config_path=project.config_path,
        warnings=tuple(warnings),
    )


def on_this_machine() -> Path:
    on_path = shutil.which("opensips")
    if on_path is not None:
        return Path(on_path)
    for place in _PLACES:
        if (Path(place) / "sbin" / "opensips").exists():
            return Path(place)
    raise EngineError(
        "there is no OpenSIPS on PATH or in " + ", ".join(_PLACES),
        hint="name it: rcsops install --adopt DIRECTORY; or build one: rcsops install",
    )
