"""The content server for files over HTTP, where the settings ask for one."""

from collections.abc import Iterator
from pathlib import Path

from rcsops.errors import EngineError
from rcsops.opensips.ports import check_free
from rcsops.operations.doctor.finding import Finding, bad, good, note
from rcsops.operations.engine import last_error
from rcsops.operations.server import status
from rcsops.settings import Project

__all__ = ["content"]


def content(project: Project) -> Iterator[Finding]:
    """Whether it runs beside the SIP server, or could."""
    settings = project.settings.content
    if not settings.listen:
        return
    found = status(project)
    if found.content is not None and found.content.running:
        yield good("content", f"{found.content.url}, pid {found.content.pid}")
        return
    try:
        check_free(settings.address, key="content.listen")
    except EngineError as error:
        more = ", then rcsops restart" if found.running else ""
        yield bad("content", str(error), f"{error.hint}{more}")
        return
    if found.running:
        reason = last_error(Path(found.content.log), 0)[0] if found.content is not None else ""
        why = f"; its last error: {reason}" if reason else ""
        yield bad("content", f"the content server does not run{why}", "rcsops restart")
    else:
        yield note("content", f"free: {settings.listen}; rcsops start starts it as well")
