"""The server's database: make it, look at it, remove it."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, insert, select, text

from rcsops.database import Subscribers, check_tables, create_tables, open_engine, reading, writing
from rcsops.database.ddl import create_table, insert_versions, mysql_dialect
from rcsops.database.failures import NOT_LET_IN, error_number
from rcsops.database.mysql_account import drop_account, look
from rcsops.database.rebuild import drop as drop_statement
from rcsops.database.rebuild import left_over
from rcsops.database.rows import count_rows
from rcsops.database.schema import domain as domain_table
from rcsops.database.schema import subscriber
from rcsops.database.scripts import ScriptTable, read_scripts
from rcsops.database.shapes import Shape
from rcsops.database.tables import (
    TableState,
    comparison_problems,
    foreign_tables,
    is_empty,
    missing_tables,
    other_states,
    server_name,
    table_states,
    table_versions,
)
from rcsops.errors import DatabaseError, EngineError
from rcsops.opensips import installed
from rcsops.operations.db_access import MysqlAccess, project_shape
from rcsops.operations.db_rebuild import alone_in_mysql, alone_in_sqlite
from rcsops.settings import Project, masked_url, secret_name, sqlite_file

AskPassword = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class DbCreated:
    """``tables`` are those that were missing; ``url`` has no password in it; ``account`` says
    whether a MySQL database or its user had to be made."""

    url: str
    server: str
    tables: tuple[str, ...]
    line: str
    account: bool = False


@dataclass(frozen=True, slots=True)
class DbStatus:
    """``lacking`` says for each digest algorithm how many accounts have no hash; ``domains`` how
    many accounts each domain has; ``line`` is the release line that the tables are wanted for;
    ``problems`` what keeps the database from being used, ``mend`` the command that ends most."""

    url: str
    server: str
    line: str
    size: int | None
    tables: tuple[TableState, ...]
    accounts: int
    domains: Mapping[str, int]
    lacking: Mapping[str, int]
    problems: tuple[str, ...]
    mend: str = ""


@dataclass(frozen=True, slots=True)
class DbDropped:
    """``existed`` is False when there was nothing to remove."""

    url: str
    existed: bool
    tables: tuple[str, ...]
    accounts: int


def create(
    project: Project,
    *,
    admin_url: str | None = None,
    ask: AskPassword | None = None,
    new_password: bool = False,
    every_table: bool = False,
) -> DbCreated:
    """Makes the database and whatever table is missing; doing it twice changes nothing.

    On MySQL that is a database, a user with a generated password who may read and write rows, and
    the tables, made by ``admin_url`` or whoever else has the right (`find_administrator`; ``ask``
    gets a password from a person). ``every_table`` adds those of the installed OpenSIPS's own
    scripts. Raises `DatabaseError`, also where that OpenSIPS wants other tables than the settings'
    release.
    """
    shape = project_shape(project)
    _, versions = _installed_versions(project)
    for name, number in shape.versions.items():
        if versions.get(name) not in (None, number):
            raise DatabaseError(
                f"the installed OpenSIPS wants version {versions[name]} of the table {name!r}, "
                f"but release {project.settings.release} has {number}",
                hint="write the release that is installed into rcsops.toml, or type: "
                "rcsops install",
            )
    more = _script_tables(project) if every_table else {}
    if sqlite_file(project.settings.database_url) is None:
        return _create_mysql(project, shape, more, admin_url, ask, new_password)
    return _create_sqlite(project, shape, more)


def _create_sqlite(project: Project, shape: Shape, more: Mapping[str, ScriptTable]) -> DbCreated:
    url = project.settings.database_url
    file = sqlite_file(url)
    if file is not None and file.parent == project.state_dir:
        project.make_state_dir()
    engine = open_engine(url, create=True)
    with writing(engine, url) as connection:
        made = create_tables(connection, shape)
        for statement in _missing_of_scripts(connection, more, made, []):
            connection.exec_driver_sql(statement)
        check_tables(connection, shape)
        know_domain(connection, project.settings.domain)
        server = server_name(connection)
    return DbCreated(masked_url(url), server, tuple(made), shape.text)


def _create_mysql(
    project: Project,
    shape: Shape,
    more: Mapping[str, ScriptTable],
    admin_url: str | None,
    ask: AskPassword | None,
    new_password: bool,
) -> DbCreated:
    access = MysqlAccess(project, admin_url=admin_url, ask=ask)
    with contextlib.closing(access):
        account = access.ensure_account(new_password=new_password)
        url = access.url
        with reading(open_engine(url), url) as connection:
            _refuse_left_over(connection)
            made = missing_tables(connection, shape)
            known = table_versions(connection) if "version" not in made else {}
            noted = {*shape.versions, *(name for name in more if more[name].version is not None)}
            half = _half_made(connection, noted, known)
            made += [name for name in half if name in shape.versions]
            statements = [drop_statement(half)] if half else []
            statements += [
                each for name in made for each in create_table(shape, name, mysql_dialect())
            ]
            missing = {name: n for name, n in shape.versions.items() if name not in known}
            statements += insert_versions(missing.items())
            statements += _missing_of_scripts(connection, more, made, half)
        if statements:
            access.run(statements)
    with writing(open_engine(url), url) as connection:
        check_tables(connection, shape)
        for problem in comparison_problems(connection):
            raise DatabaseError(problem, hint="rcsops db migrate makes the tables anew, rows kept")
        know_domain(connection, project.settings.domain)
        server = server_name(connection)
    return DbCreated(masked_url(url), server, tuple(made), shape.text, account)


def _script_tables(project: Project) -> dict[str, ScriptTable]:
    url = project.settings.database_url
    found = installed.find(project)
    if found is None or found.scripts_dir is None:
        raise DatabaseError(
            "all tables come from the scripts of an OpenSIPS, and none is installed here",
            hint="type: rcsops install",
        )
    return read_scripts(found.scripts_dir, "mysql" if sqlite_file(url) is None else "sqlite")


def _half_made(connection: Connection, names: set[str], known: Mapping[str, int]) -> list[str]:
    """MySQL's tables that a crash cut short: a table counts once its version is noted. They are
    made again, unless they have rows."""
    present = (_present(connection) & names) - set(known) - {"version"}
    return sorted(name for name in present if not count_rows(connection, name))


def _missing_of_scripts(
    connection: Connection, more: Mapping[str, ScriptTable], made: list[str], half: list[str]
) -> list[str]:
    """The statements for the tables of ``more`` that are not there; notes their names in
    ``made``."""
    present = (_present(connection) - set(half)) | {"version", *made}
    statements: list[str] = []
    for name, each in more.items():
        if name in present:
            continue
        made.append(name)
        statements += each.statements
        if each.version is not None:
            statements += insert_versions([(name, each.version)])
    return statements


def _present(connection: Connection) -> set[str]:
    from sqlalchemy import inspect

    return set(inspect(connection).get_table_names())


def _refuse_left_over(connection: Connection) -> None:
    if found := left_over(connection):
        raise DatabaseError(
            f"a migration was cut short and left {', '.join(found[:3])}",
            hint="rcsops db migrate or rcsops db restore puts that in order first",
        )


def status(project: Project) -> DbStatus:
    """What is in the database; raises `DatabaseError` when it cannot be read at all."""
    url = project.settings.database_url
    file = sqlite_file(url)
    shape = project_shape(project)
    with reading(open_engine(url), url) as connection:
        states = table_states(connection, shape)
        problems = [f"table {state.name}: {state.state}" for state in states if state.state != "ok"]
        faults, versions = _installed_versions(project)
        problems += faults
        problems += [
            f"table {state.name}: the installed OpenSIPS wants version {versions[state.name]}"
            for state in states
            if versions.get(state.name) not in (None, state.wanted)
        ]
        accounts = 0
        domains: Mapping[str, int] = {}
        lacking: Mapping[str, int] = {}
        if not problems:
            subscribers = Subscribers(connection, shape.line)
            domains, lacking = subscribers.domains(), subscribers.lacking()
            accounts = sum(domains.values())
            problems += _domain_problem(project.settings.domain, domains)
        compared, left = comparison_problems(connection), left_over(connection)
        problems += compared
        problems += [f"left by a migration that was cut short: {name}" for name in left]
        mend = "rcsops db migrate" if compared or left else _mend(states)
        states += other_states(connection, shape, versions)
        if file is not None:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
            if found != "ok":
                problems.append(f"damaged: {found}")
        server = server_name(connection)
        size = file.stat().st_size if file is not None else _mysql_size(connection)
    return DbStatus(
        url=masked_url(url),
        server=server,
        line=shape.text,
        size=size,
        tables=tuple(states),
        accounts=accounts,
        domains=domains,
        lacking=lacking,
        problems=tuple(problems),
        mend=mend,
    )


def _mend(states: list[TableState]) -> str:
    if any(state.lacks and state.name == "subscriber" for state in states):
        return ""  # by its columns the release is known
    found = {state.state.partition(" ")[0] for state in states}
    if found & {"older", "lacks"}:
        return "rcsops db migrate"
    return "rcsops db create" if "missing" in found else ""


def _installed_versions(project: Project) -> tuple[list[str], dict[str, int | None]]:
    """What keeps the installed OpenSIPS from being asked, and the versions of the tables that its
    own scripts name."""
    if project.settings.engine == "embedded":
        return [], {}
    try:
        found = installed.find(project)
    except EngineError as error:
        return [str(error)], {}
    flavour = "mysql" if sqlite_file(project.settings.database_url) is None else "sqlite"
    if found is None or found.scripts_dir is None or not (found.scripts_dir / flavour).is_dir():
        return [], {}
    scripts = read_scripts(found.scripts_dir, flavour)
    return [], {name: each.version for name, each in scripts.items()}


def _mysql_size(connection: Connection) -> int:
    query = (
        "SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = DATABASE()"
    )
    return int(connection.execute(text(query)).scalar_one())


def drop(
    project: Project, *, admin_url: str | None = None, ask: AskPassword | None = None
) -> DbDropped:
    """Removes the tables with all accounts, the SQLite file or the MySQL database and its user with
    them, and the credentials of these accounts that were kept for local use.

    Raises `DatabaseError` when another process has the database open or it holds tables of another
    program.
    """
    url = project.settings.database_url
    file = sqlite_file(url)
    if file is None:
        return _drop_mysql(project, admin_url, ask)
    if not file.exists():
        return DbDropped(masked_url(url), False, (), 0)
    engine = open_engine(url)
    with writing(engine, url) as connection:
        _refuse_foreign(connection)
        accounts = _account_names(connection)
        tables = tuple(state.name for state in table_states(connection, count=False))
    _remove_file(file, url)
    project.credentials.remove(*accounts)
    return DbDropped(masked_url(url), True, tables, len(accounts))


def _drop_mysql(project: Project, admin_url: str | None, ask: AskPassword | None) -> DbDropped:
    url = project.settings.database_url
    key = secret_name(url)
    access = MysqlAccess(project, admin_url=admin_url, ask=ask)
    with contextlib.closing(access):
        try:
            with reading(open_engine(url), url) as connection:
                _refuse_foreign(connection)
                accounts = _account_names(connection)
                tables = tuple(sorted(_present(connection)))
        except DatabaseError as error:
            if error_number(error) not in NOT_LET_IN:
                raise
            accounts, tables = [], ()
            if not look(access.admin, access.place).database:
                return DbDropped(masked_url(url), False, (), 0)
            raise
        # The user is ours to drop where its password was ours to make.
        ours = project.secrets.get(key) is not None
        with alone_in_mysql(access):
            dropped = drop_account(access.admin, access.place, user=ours)
        if dropped:
            project.secrets.remove(key)
    project.credentials.remove(*accounts)
    return DbDropped(masked_url(url), True, tables, len(accounts))


def _refuse_foreign(connection: Connection) -> None:
    if others := foreign_tables(connection):
        raise DatabaseError(
            f"the database holds tables of another program ({', '.join(others[:3])})",
            hint="nothing was removed; remove what is yours by hand",
        )


def _account_names(connection: Connection) -> list[str]:
    if is_empty(connection):
        return []
    names = select(subscriber.c.username, subscriber.c.domain)
    return [f"{user}@{domain}" for user, domain in connection.execute(names)]


def check_domain(connection: Connection, domain: str) -> None:
    """Raises `DatabaseError` when the accounts are all of another domain than the settings say:
    their hashes would not fit."""
    for problem in _domain_problem(domain, Subscribers(connection).domains()):
        raise DatabaseError(
            problem, hint="put the old domain back into rcsops.toml, or use another database.url"
        )


def _domain_problem(domain: str, domains: Mapping[str, int]) -> list[str]:
    if not domains or domain in domains:
        return []
    return [
        f"the accounts are of {', '.join(sorted(domains))}, but the domain of this project is "
        f"{domain}"
    ]


def know_domain(connection: Connection, domain: str) -> None:
    """Notes the project's domain as one that the server answers for."""
    known = select(domain_table.c.id).where(domain_table.c.domain == domain)
    if connection.execute(known).first() is None:
        connection.execute(insert(domain_table).values(domain=domain))


def _remove_file(file: Path, url: str) -> None:
    alone_in_sqlite(file, url)
    try:
        for name in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
            name.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(f"cannot remove {error.filename}: {error.strerror}") from error
