"""``rcsops doctor``: every cause that is known of why something would not work here."""

import os
from collections.abc import Iterator

from rcsops.errors import RcsopsError
from rcsops.operations.doctor.certificates import certificates
from rcsops.operations.doctor.content import content
from rcsops.operations.doctor.database import credentials, database
from rcsops.operations.doctor.finding import Check, Finding, bad, good
from rcsops.operations.doctor.machine import clock, compiler, disk, limits, private_files, python
from rcsops.operations.doctor.network import dns, nat, ports
from rcsops.operations.doctor.server import configuration, release, server
from rcsops.settings import Project

__all__ = ["CHECKS", "Finding", "examine", "examine_at"]

CHECKS: dict[str, Check] = {
    "python": python,
    "compiler": compiler,
    "limits": limits,
    "disk": disk,
    "clock": clock,
    "secrets": private_files,
    "release": release,
    "database": database,
    "credentials": credentials,
    "certificates": certificates,
    "configuration": configuration,
    "server": server,
    "ports": ports,
    "content": content,
    "dns": dns,
    "reach": nat,
}
"""What is looked at, in this order."""


def examine(project: Project) -> Iterator[Finding]:
    """Looks at everything; a part that cannot be looked at is a problem of its own."""
    for name, check in CHECKS.items():
        try:
            yield from check(project)
        except RcsopsError as error:
            yield bad(name, str(error), error.hint)
        except OSError as error:
            owner = "type it as the owner of this project"
            mend = owner if isinstance(error, PermissionError) else ""
            yield bad(name, f"{error.filename or 'the system'}: {error.strerror or error}", mend)


def examine_at(
    directory: str | os.PathLike[str] | None, engine: str | None
) -> tuple[Project | None, Iterator[Finding]]:
    """The project of a directory and what is found there; no project where its settings cannot
    be read, which is then all that is found."""
    try:
        project = Project.find(directory, engine=engine)
    except RcsopsError as error:
        return None, iter([bad("settings", str(error), error.hint)])
    where = (
        project.config_path if project.config_path.exists() else "those of no file, the defaults"
    )
    first = good("settings", f"{where}: domain {project.settings.domain}")

    def everything() -> Iterator[Finding]:
        yield first
        yield from examine(project)

    return project, everything()
