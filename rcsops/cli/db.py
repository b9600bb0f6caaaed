"""``rcsops db``."""

import click

from rcsops.cli.context import Context
from rcsops.cli.output import (
    confirm,
    json_option,
    print_fields,
    print_json,
    print_table,
    say,
    yes_option,
)


@click.group()
def db() -> None:
    """Make, look at or remove the server's database."""


@db.command()
@json_option
@click.pass_obj
def create(context: Context, as_json: bool) -> None:
    """Make the database and its tables; what is there already stays."""
    from rcsops.operations.db import create as create_database

    result = create_database(context.project)
    if as_json:
        print_json(result, created=bool(result.tables))
    elif result.tables:
        say(f"made {', '.join(result.tables)} in {result.url} ({result.server})")
    else:
        say(f"everything is there already in {result.url} ({result.server})")


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
        size = "" if result.size is None else f", {_size(result.size)}"
        lacking = [f"{count} without {name}" for name, count in result.lacking.items() if count]
        accounts = f"{result.accounts} ({', '.join(lacking)})" if lacking else result.accounts
        print_fields(
            [
                ("database", f"{result.url} ({result.server}{size})"),
                ("accounts", accounts),
                *(("problem", problem) for problem in result.problems),
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
@yes_option
@json_option
@click.pass_obj
def drop(context: Context, yes: bool, as_json: bool) -> None:
    """Remove the database with all accounts, after a question."""
    from rcsops.operations.db import drop as drop_database
    from rcsops.settings import masked_url

    url = masked_url(context.project.settings.database_url)
    confirm(f"Remove {url} with all its accounts?", yes=yes)
    result = drop_database(context.project)
    if as_json:
        print_json(result)
    elif result.existed:
        say(f"removed {result.url} with {_accounts(result.accounts)}")
    else:
        say(f"there is no database at {result.url}")


def _accounts(number: int) -> str:
    return "1 account" if number == 1 else f"{number} accounts"


def _size(octets: int) -> str:
    number = float(octets)
    for unit in ("B", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
