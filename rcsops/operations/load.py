"""``rcsops load``: the accounts, the server and the files around a load."""

import hashlib
import hmac
import io
import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rcsops.errors import RcsopsError, UsageError
from rcsops.loadgen import Account, LoadPlan, LoadReport, Second, run_load
from rcsops.operations.names import UserName, parse_user
from rcsops.operations.server import status
from rcsops.operations.users import hashes, list_users, remove_user
from rcsops.operations.users_bulk import import_users
from rcsops.operations.users_file import read_records
from rcsops.settings import Project

__all__ = ["load", "make_accounts", "read_accounts", "remove_accounts", "write_result"]

PREFIX = "load-"
_KEPT_AS = "load accounts"


def load(
    project: Project,
    plan: LoadPlan,
    accounts: list[Account],
    *,
    on_second: Callable[[Second, LoadReport], None] | None = None,
) -> LoadReport:
    """Runs the load; the project's own server, when it runs here, is watched as well.

    Raises EngineError when no agent could register.
    """
    own = project.settings.local_server(plan.transport)
    pid = status(project).pid if own is not None and plan.server == own.host_port else None
    return run_load(plan, accounts, on_second=on_second, server_pid=pid)


def make_accounts(project: Project, count: int) -> list[Account]:
    """The first ``count`` accounts for loads in the project's database; those that are missing are
    added. Their passwords are drawn from one secret of the project.

    Raises DatabaseError.
    """
    secret = project.secrets.get(_KEPT_AS)
    known: set[str] = set()
    if secret is None:
        project.make_state_dir()
        secret = secrets.token_hex(32)
        project.secrets.put(_KEPT_AS, secret)
    else:
        page = list_users(project, pattern=f"{PREFIX}*")
        known = {summary.user for summary in page.users}
    domain = project.settings.domain
    users = [UserName(f"{PREFIX}{number:06d}", domain) for number in range(1, count + 1)]
    passwords = [_password(secret, user) for user in users]
    missing = [
        json.dumps({"user": str(user), "password": password})
        for user, password in zip(users, passwords, strict=True)
        if str(user) not in known
    ]
    if missing:
        lines = io.StringIO("\n".join(missing) + "\n")
        import_users(project, lines, "jsonl", replace=True)
    return [
        Account(user.username, hashes(user, password))
        for user, password in zip(users, passwords, strict=True)
    ]


def remove_accounts(project: Project) -> int:
    """Removes every account that `make_accounts` has added; how many there were."""
    count = 0
    for summary in list_users(project, pattern=f"{PREFIX}*").users:
        remove_user(project, summary.user)
        count += 1
    project.secrets.remove(_KEPT_AS)
    return count


def read_accounts(stream: TextIO, form: str, domain: str) -> Iterator[Account]:
    """The accounts of a file with passwords, as ``rcsops user import`` reads it.

    Raises UsageError, with the number of the line, for one that is no account.
    """
    for record in read_records(stream, form):
        try:
            if record.fault:
                raise UsageError(record.fault)
            values = record.values
            user = parse_user(values.get("user") or values.get("username", ""), domain)
            password = values.get("password", "")
            if not password:
                raise UsageError("there is no password")
        except RcsopsError as error:
            raise UsageError(f"line {record.line} of the accounts: {error}") from error
        yield Account(user.username, hashes(user, password))


def write_result(report: LoadReport, path: Path) -> None:
    """Writes the whole result as JSON; raises UsageError when it cannot be written."""
    try:
        path.write_text(json.dumps(report.to_json(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _password(secret: str, user: UserName) -> str:
    return hmac.new(secret.encode(), str(user).encode(), hashlib.sha256).hexdigest()
