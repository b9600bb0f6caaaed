"""The database: its server, tables, accounts and hashes."""

from collections.abc import Iterator

from rcsops.database.engine import open_engine, reading
from rcsops.database.failures import UNREACHABLE, error_number
from rcsops.database.subscribers import Subscribers, columns_of
from rcsops.errors import DatabaseError, RcsopsError
from rcsops.opensips.packages import (
    DATABASE_SERVER,
    database_server_runs,
    has_database_server,
    install_command,
    start_commands,
    wants_database_server,
)
from rcsops.operations.db import status
from rcsops.operations.db_access import project_shape
from rcsops.operations.doctor.finding import Finding, bad, good, note, warn
from rcsops.settings import Project

__all__ = ["credentials", "database"]

_SHOWN = 5


def database(project: Project) -> Iterator[Finding]:
    """Whether the server can use its database, and every account can log in."""
    try:
        found = status(project)
    except DatabaseError as error:
        yield _unreachable(project, error)
        return
    if found.problems:
        yield bad("database", f"{found.url}: {'; '.join(found.problems)}", found.mend)
        return
    yield good("database", f"{found.url}, {found.server}, {found.accounts} accounts")
    if not found.accounts:
        yield note("accounts", "there are none", "rcsops user add NAME")
        return
    # A release that knows nothing but MD5 has no place for another hash.
    known = columns_of(project_shape(project).line)
    wanted = [name for name in project.settings.digest_algorithms if name in known]
    lacking = {name: count for name, count in found.lacking.items() if count and name in wanted}
    if lacking:
        counts = ", ".join(f"{count} have no hash for {name}" for name, count in lacking.items())
        yield warn(
            "accounts",
            f"of {found.accounts} accounts {counts}: the server cannot offer it to anybody",
            "give them passwords anew: rcsops user passwd NAME (rcsops user list --lacking shows "
            "which)",
        )
    else:
        yield good("accounts", f"all {found.accounts} have their hashes")


def _unreachable(project: Project, error: DatabaseError) -> Finding:
    mend = error.hint
    # A server that answered, whatever it said, is there and runs.
    silent = error_number(error) in UNREACHABLE
    if silent and wants_database_server(project.settings.database_url):
        if not has_database_server():
            mend = install_command([DATABASE_SERVER])
        elif not database_server_runs():
            mend = " or ".join(" ".join(command) for command in start_commands()) or mend
    return bad("database", str(error), mend)


def credentials(project: Project) -> Iterator[Finding]:
    """Whether what is kept here for agents still is what the server wants of them."""
    try:
        known = project.credentials.accounts()
    except RcsopsError as error:
        yield bad("credentials", str(error), error.hint)
        return
    if project.settings.agent_server:
        yield note("credentials", "not compared: the agents' server is another one")
        return
    gone, changed = [], []
    url = project.settings.database_url
    try:
        with reading(open_engine(url), url) as connection:
            subscribers = Subscribers(connection, project_shape(project).line)
            for aor in known:
                user, _, domain = aor.rpartition("@")
                row = subscribers.get(user, domain)
                kept = project.credentials.get(aor) or {}
                if row is None:
                    gone.append(aor)
                elif any(row.ha1.get(name) not in ("", None, kept[name]) for name in kept):
                    changed.append(aor)
    except RcsopsError:
        yield note("credentials", "not compared: the database cannot be read")
        return
    for aors, what in (
        (changed, "another password than the one that is kept here"),
        (gone, "no account any more"),
    ):
        if aors:
            shown = ", ".join(aors[:_SHOWN]) + (" and others" if len(aors) > _SHOWN else "")
            verb = "passwd" if aors is changed else "add"
            yield bad(
                "credentials",
                f"{shown}: {what}, so the server will say 401 or 403",
                f"rcsops user {verb} {aors[0].partition('@')[0]}",
            )
    if not gone and not changed:
        yield good("credentials", f"{len(known)} are kept here, and fit the accounts")
