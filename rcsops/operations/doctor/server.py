"""The server: its release, its configuration, its process and its management interface."""

from collections.abc import Iterator

from rcsops.errors import EngineError, MiError, MiUnreachable, RcsopsError
from rcsops.opensips.installed import find
from rcsops.opensips.releases import release_line
from rcsops.operations import config
from rcsops.operations.doctor.finding import Finding, bad, good, note, warn
from rcsops.operations.engine import last_error
from rcsops.operations.mi import MiClient
from rcsops.operations.server import status
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project

__all__ = ["configuration", "release", "server"]

_MI_SECONDS = 2.0


def release(project: Project) -> Iterator[Finding]:
    """Whether there is a server, and whether its makers still mend it."""
    if project.settings.engine == "embedded":
        yield good("release", "the embedded server, which comes with rcsops")
        return
    try:
        installation = find(project)
    except EngineError as error:
        yield bad("release", str(error), error.hint or "rcsops install --force")
        return
    if installation is None:
        yield bad(
            "release",
            f"no OpenSIPS {project.settings.release} is installed for this project",
            f"rcsops install --release {project.settings.release}",
        )
        return
    if installation.line != release_line(project.settings.release):
        yield bad(
            "release",
            f"OpenSIPS {installation.version} is in {installation.prefix}, but rcsops.toml says "
            f"{project.settings.release}, which has other tables and another configuration",
            f'write into rcsops.toml: release = "{installation.version}"',
        )
        return
    known = installation.release
    if known is not None and known.ended:
        yield warn(
            "release",
            f"OpenSIPS {installation.version}: {known.state}; nobody mends its faults, so that it "
            "must not be reached from the open Internet",
            "rcsops install --release 3.6, then rcsops db migrate",
        )
    else:
        state = f", {known.state}" if known is not None and known.state else ""
        yield good("release", f"OpenSIPS {installation.version}{state}, in {installation.prefix}")


def configuration(project: Project) -> Iterator[Finding]:
    """Whether OpenSIPS takes its configuration, and whether that is the one of the settings."""
    if project.settings.engine == "embedded":
        return
    try:
        planned = config.plan(project)
        if not planned.path.is_file():
            yield note("configuration", "not made yet; rcsops start makes it")
            return
        if find(project) is None:
            yield note("configuration", "not looked over: no OpenSIPS is installed to do it")
            return
        checked = config.check(project, database=False)
    except RcsopsError as error:
        yield bad("configuration", str(error), error.hint)
        return
    faults = [each for each in checked.problems if not each.warning]
    if faults:
        first = faults[0]
        yield bad(
            "configuration",
            f"{first.file}:{first.line}: {first.text}",
            "rcsops config check shows the line; rcsops config render makes it anew",
        )
    elif planned.changed_by_hand:
        yield note(
            "configuration",
            f"changed by hand: {', '.join(planned.changed_by_hand)}",
            "rcsops config diff shows what",
        )
    elif not planned.current:
        yield warn(
            "configuration",
            "the settings have changed since it was made",
            "rcsops config render, then rcsops restart",
        )
    else:
        yield good("configuration", f"{planned.path}, as the settings want it")


def server(project: Project) -> Iterator[Finding]:
    """Whether the server runs, answers, and has left nothing behind."""
    files = RunFiles(project.run_dir)
    try:
        found = status(project, timeout=_MI_SECONDS)
    except RcsopsError as error:
        yield bad("server", str(error), error.hint)
        return
    if found.running:
        yield from _running(project, found.pid, found.fault)
        return
    left = [path.name for path in (files.pid, files.fifo, files.socket) if path.exists()]
    if left:
        reason, _ = last_error(files.log, 0)
        why = f"; its last error: {reason}" if reason else ""
        yield bad(
            "server",
            f"it has ended without cleaning up ({', '.join(left)} in {files.directory}){why}",
            "rcsops start (which clears them away; rcsops logs may say why it ended)",
        )
    elif found.fault:
        yield bad("server", found.fault, "rcsops start")
    else:
        yield note("server", "it does not run", "rcsops start")


def _running(project: Project, pid: int | None, fault: str) -> Iterator[Finding]:
    client = MiClient.of(project, timeout=_MI_SECONDS)
    try:
        client.call("uptime")
    except MiError as error:
        said, mend = str(error), error.hint or "rcsops restart"
        if isinstance(error, MiUnreachable) and not error.running:
            said, mend = f"nobody answers at {client.place}", "rcsops restart"
        yield bad(
            "server",
            f"it runs, pid {pid or 'unknown'}, and its management interface is of no use: {said}",
            mend,
        )
        return
    if fault:
        yield bad("server", fault, "rcsops start" if pid is None else "rcsops restart")
    else:
        yield good("server", f"it runs, pid {pid}, and answers")
