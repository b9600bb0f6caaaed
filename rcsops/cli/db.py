"""``rcsops db``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from rcsops.cli.context import Context
from rcsops.cli.output import (
    confirm,
    json_option,
    note,
    print_fields,
    print_json,
    print_table,
    say,
    yes_option,
)
from rcsops.cli.progress import Progress
from rcsops.errors import UsageError
from rcsops.operations.wording import amount

if TYPE_CHECKING:
    from rcsops.operations.db_migrate import DbMigrated

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def db() -> None:
    """Make, look at, change and save the server's database.

    On MySQL and MariaDB the tables are the administrator's: root by the socket (when run as root,
    or through sudo), or the one of --admin-url. Everything else is done by a user who may read and
    write rows alone.
    """


def _checked_admin_url(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    from rcsops.settings import url_password

    assert parameter.name is not None
    typed = context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE
    if value and typed and url_password(value) is not None:
        raise UsageError(
            "a password in --admin-url stands in the list of processes for all to read",
            hint="leave it out, and it is asked for; or set RCSOPS_ADMIN_URL",
        )
    return value


def _admin_option(command: _Command) -> _Command:
    return click.option(
        "--admin-url",
        metavar="URL",
        envvar="RCSOPS_ADMIN_URL",
        callback=_checked_admin_url,
        help="MySQL's administrator: mysql://root@db.example. The password is asked for.",
    )(command)


def _ask(question: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question}: nobody is here to answer", hint="set RCSOPS_ADMIN_URL with the password"
        )
    return str(click.prompt(question, hide_input=True, err=True))


@db.command()
@_admin_option
@click.option("--new-password", is_flag=True, help="Give MySQL's user another password.")
@click.option(
    "--tables",
    type=click.Choice(["used", "all"]),
    default="used",
    help="Those that rcsops uses, or all of the installed OpenSIPS's scripts.",
)
@json_option
@click.pass_obj
def create(
    context: Context, admin_url: str | None, new_password: bool, tables: str, as_json: bool
) -> None:
    """Make the database and its tables; what is there already stays.

    On MySQL also a user with a generated password, which is kept in the project's state directory.
    """
    from rcsops.operations.db import create as create_database

    result = create_database(
        context.project,
        admin_url=admin_url,
        ask=_ask,
        new_password=new_password,
        every_table=tables == "all",
    )
    if as_json:
        print_json(result, created=bool(result.tables))
        return
    if result.account and not new_password:
        say(f"made the database and its user in {result.url}")
    elif new_password:
        say(f"changed the password of the user in {result.url}")
    if result.tables:
        say(f"made {', '.join(result.tables)} in {result.url} ({result.server})")
    elif not result.account:
        say(f"everything is there already in {result.url} ({result.server})")
    _tell_of_own_accounts(context)


def _tell_of_own_accounts(context: Context) -> None:
    """Says that the embedded engine's accounts can come along to an empty MySQL database."""
    from rcsops.settings import sqlite_file

    project = context.project
    if sqlite_file(project.settings.database_url) is None and project.own_database.exists():
        note("the accounts of the embedded engine come along with: rcsops db migrate --from own")


@db.command()
@json_option
@click.pass_obj
def status(context: Context, as_json: bool) -> None:
    """Show the server, the tables with their versions, and the accounts.

    Exit code 1 if the database cannot be used as it is.
    """
    from rcsops.operations.db import status as database_status

    result = database_status(context.project)
    if as_json:
        tables = [{**each._asdict(), "state": each.state} for each in result.tables]
        print_json(result, tables=tables)
    else:
        counted = result.accounts or not result.problems
        size = "" if result.size is None else f", {amount(result.size)}"
        print_fields(
            [
                ("database", f"{result.url} ({result.server}{size})"),
                ("tables", f"those of OpenSIPS {result.line}"),
                (
                    "accounts",
                    _with_lacking(result.accounts, result.lacking) if counted else "not counted",
                ),
                *(("problem", problem) for problem in result.problems),
                *([("to mend", result.mend)] if result.mend else []),
            ]
        )
        click.echo()
        print_table(
            ["table", "version", "wanted", "rows", "state"],
            [(each.name, each.found, each.wanted, each.rows, each.state) for each in result.tables],
        )
    if result.problems:
        raise click.exceptions.Exit(1)


@db.command()
@click.option("--to", metavar="RELEASE", help="The tables of this release (that of the settings).")
@click.option(
    "--from",
    "source",
    metavar="URL",
    help="Carry the rows of another database over: its URL, or `own` for the embedded engine's.",
)
@click.option("--dry-run", is_flag=True, help="Show the SQL and change nothing.")
@_admin_option
@yes_option
@json_option
@click.pass_obj
def migrate(
    context: Context,
    to: str | None,
    source: str | None,
    dry_run: bool,
    admin_url: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Bring the tables to those of another release, or into another database, with all rows.

    A backup is made first. The new tables are made beside the old ones and compared with them
    before they take their place: after a failure, or a crash, everything is as it was.
    """
    from rcsops.operations.db_migrate import carry_over
    from rcsops.operations.db_migrate import migrate as migrate_database

    project = context.project
    if source is not None and to is not None:
        raise UsageError("--to and --from exclude each other")
    url = f"sqlite:///{project.own_database}" if source == "own" else source

    def run(dry: bool, progress: Progress | None = None) -> "DbMigrated":
        on_step = None if progress is None else progress.step
        if url is not None:
            return carry_over(
                project, url, admin_url=admin_url, ask=_ask, dry_run=dry, on_step=on_step
            )
        return migrate_database(
            project, target=to, admin_url=admin_url, ask=_ask, dry_run=dry, on_step=on_step
        )

    planned = run(True)
    if dry_run:
        if as_json:
            print_json(planned)
        else:
            for statement in planned.statements:
                click.echo(f"{statement};" if not statement.startswith("--") else statement)
            _print_losses(planned)
        return
    if planned.changed:
        what = f"{planned.accounts} accounts from OpenSIPS {planned.source} to {planned.target}"
        lost = _losses(planned)
        question = f"Migrate {what}{f' (without {lost})' if lost else ''}?"
        confirm(question, yes=yes)
    with Progress(quiet=as_json) as progress:
        result = run(False, progress)
    if as_json:
        print_json(result)
        return
    if not result.changed:
        say(f"nothing to change: the tables are those of OpenSIPS {result.target}")
        return
    moved = f"from OpenSIPS {result.source} to {result.target}"
    say(f"migrated {result.url} {moved}: {_rows(result.rows)}")
    if result.backup is not None:
        say(f"backup: {result.backup}")
    _print_losses(result)
    if to is not None and to != project.settings.release:
        note(f'the settings still say release = "{project.settings.release}"')


def _losses(result: "DbMigrated") -> str:
    return ", ".join(f"{number} values of {name}" for name, number in result.lost.items())


def _print_losses(result: "DbMigrated") -> None:
    if result.lost:
        note(f"the new tables have no place for {_losses(result)}; the backup has it")
    for name, number in result.lacking.items():
        # No password helps on a release that knows nothing but MD5.
        if number and name == "SHA-256" and result.target != "3.0":
            note(
                f"{number} of {result.accounts} accounts need a new password before they can log "
                f"in with {name}: rcsops user passwd; rcsops user list --lacking {name} shows them"
            )


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@json_option
@click.pass_obj
def backup(context: Context, file: Path | None, as_json: bool) -> None:
    """Write all rows to FILE (by default one in the project's state directory).

    The server may run meanwhile: the backup is of one moment. It holds the hashes of all passwords,
    so only its owner may read it.
    """
    from rcsops.operations.db_backup import backup as write

    with Progress(quiet=as_json) as progress:
        result = write(context.project, file, on_step=progress.step)
    if as_json:
        print_json(result)
    else:
        say(f"wrote {result.path}: {_rows(result.rows)}")


@db.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--check", is_flag=True, help="Only read FILE and say what is in it.")
@_admin_option
@yes_option
@json_option
@click.pass_obj
def restore(
    context: Context, file: Path, check: bool, admin_url: str | None, yes: bool, as_json: bool
) -> None:
    """Put the rows of a backup in the place of those that are there, after a question.

    What is there is backed up first. FILE is read and checked to its end before anything changes.
    """
    from rcsops.operations.db_backup import inspect_backup
    from rcsops.operations.db_backup import restore as put_back
    from rcsops.settings import masked_url

    found = inspect_backup(file)
    if check:
        if as_json:
            print_json(found)
        else:
            say(f"{file} is whole: {found.made}, OpenSIPS {found.line}, {found.server}")
            say(_rows(found.rows))
        return
    url = masked_url(context.project.settings.database_url)
    confirm(f"Replace all rows in {url} by those of {found.made}?", yes=yes)
    with Progress(quiet=as_json) as progress:
        result = put_back(
            context.project, file, admin_url=admin_url, ask=_ask, on_step=progress.step
        )
    if as_json:
        print_json(result)
        return
    say(f"restored {result.url}: {_rows(result.restored.rows)}")
    if result.kept is not None:
        say(f"what was there before: {result.kept}")


@db.command()
@_admin_option
@yes_option
@json_option
@click.pass_obj
def drop(context: Context, admin_url: str | None, yes: bool, as_json: bool) -> None:
    """Remove the database with all accounts, after a question."""
    from rcsops.operations.db import drop as drop_database
    from rcsops.settings import masked_url

    url = masked_url(context.project.settings.database_url)
    confirm(f"Remove {url} with all its accounts?", yes=yes)
    result = drop_database(context.project, admin_url=admin_url, ask=_ask)
    if as_json:
        print_json(result)
    elif result.existed:
        say(f"removed {result.url} with {_accounts(result.accounts)}")
    else:
        say(f"there is no database at {result.url}")


def _rows(rows: "dict[str, int] | Any") -> str:
    shown = [f"{number} of {name}" for name, number in rows.items() if number]
    if empty := len(rows) - len(shown):
        shown.append(f"nothing of {empty} {'table' if empty == 1 else 'tables'}")
    return ", ".join(shown) or "no tables"


def _with_lacking(accounts: int, lacking: "dict[str, int] | Any") -> str:
    without = [f"{count} without {name}" for name, count in lacking.items() if count]
    return f"{accounts} ({', '.join(without)})" if without else str(accounts)


def _accounts(number: int) -> str:
    return "1 account" if number == 1 else f"{number} accounts"
