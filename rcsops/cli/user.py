"""``rcsops user``."""

import sys
import time
from pathlib import Path

import click

from rcsops.cli.account_files import accounts_format, reading_accounts
from rcsops.cli.context import Context, complete_user
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

_MAX_STDIN = 4096
_SHOWN_BAD = 20


@click.group()
def user() -> None:
    """Add, list, show, change, remove, import and export accounts.

    USER is a name such as bob, or bob@DOMAIN. Only hashes of passwords are stored.
    """


def _password_options(command: click.decorators.FC) -> click.decorators.FC:
    command = click.option(
        "--store-password",
        is_flag=True,
        help="Store the password itself too, beside its hashes: whoever reads the database has it.",
    )(command)
    command = click.option(
        "--generate", is_flag=True, help="Make a password and print it, this once."
    )(command)
    return click.option(
        "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
    )(command)


@user.command()
@click.argument("name", metavar="USER")
@_password_options
@json_option
@click.pass_obj
def add(
    context: Context,
    name: str,
    password_stdin: bool,
    generate: bool,
    store_password: bool,
    as_json: bool,
) -> None:
    """Add an account.

    Asks for the password, twice; where nobody can be asked, makes one and prints it. The hashes
    also stay with this project, so that `rcsops chat USER` asks for nothing.
    """
    from rcsops.operations.users import add_user, new_user, require_user

    known = new_user(context.project, name)
    require_user(context.project, known, present=False)
    password, generated = _password(str(known), password_stdin, generate)
    result = add_user(context.project, name, password=password, plain=store_password)
    _print_changed(result.user, result.algorithms, "added", password, generated, as_json)


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@_password_options
@json_option
@click.pass_obj
def passwd(
    context: Context,
    name: str,
    password_stdin: bool,
    generate: bool,
    store_password: bool,
    as_json: bool,
) -> None:
    """Give an account another password."""
    from rcsops.operations.users import parse_user, require_user, set_password

    known = parse_user(name, *context.project.settings.all_domains)
    require_user(context.project, known)
    password, generated = _password(str(known), password_stdin, generate)
    result = set_password(context.project, name, password=password, plain=store_password)
    _print_changed(result.user, result.algorithms, "changed", password, generated, as_json)


@user.command("list")
@click.argument("pattern", default="")
@click.option(
    "--sort", type=click.Choice(["name", "domain", "id"]), default="name", help="Order (name)."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out the first ones.")
@click.option(
    "--lacking",
    type=click.Choice(["MD5", "SHA-256", "SHA-512-256"], case_sensitive=False),
    help="Only those that cannot log in with this algorithm.",
)
@json_option
@click.pass_obj
def list_(
    context: Context,
    pattern: str,
    sort: str,
    reverse: bool,
    limit: int | None,
    offset: int,
    lacking: str | None,
    as_json: bool,
) -> None:
    """List accounts whose name holds PATTERN; * and ? make it a pattern for the whole name."""
    from rcsops.operations.users import list_users

    page = list_users(
        context.project,
        pattern=pattern,
        lacking=lacking or "",
        sort=sort,
        reverse=reverse,
        limit=limit,
        offset=offset,
    )
    if as_json:
        print_json(page, offset=offset)
        return
    if page.users:
        print_table(
            ["user", "algorithms"],
            [(each.user, ", ".join(each.algorithms) or "none") for each in page.users],
        )
    if not page.total:
        note("no such user" if pattern or lacking else "no users yet; type: rcsops user add bob")
    elif len(page.users) < page.total:
        note(f"{len(page.users)} of {page.total}")


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@json_option
@click.pass_obj
def show(context: Context, name: str, as_json: bool) -> None:
    """Show an account with its contacts."""
    from rcsops.operations.users import show_user

    now = int(time.time())
    details = show_user(context.project, name, now=now)
    if as_json:
        print_json(details)
        return
    print_fields(
        [
            ("user", details.user),
            ("algorithms", ", ".join(details.algorithms) or "none"),
            ("credentials here", "yes" if details.local else "no"),
            ("messages waiting", details.messages),
            ("contacts", len(details.contacts) or "none"),
        ]
    )
    if details.contacts:
        click.echo()
        print_table(
            ["contact", "expires in", "received", "user agent"],
            [
                (each.contact, f"{each.expires - now} s", each.received, each.user_agent)
                for each in details.contacts
            ],
        )


@user.command()
@click.argument("name", metavar="USER", shell_complete=complete_user)
@yes_option
@json_option
@click.pass_obj
def remove(context: Context, name: str, yes: bool, as_json: bool) -> None:
    """Remove an account, its contacts and the messages that wait for it, after a question."""
    from rcsops.operations.users import parse_user, remove_user, require_user

    known = parse_user(name, *context.project.settings.all_domains)
    require_user(context.project, known)
    confirm(f"Remove {known} with contacts and waiting messages?", yes=yes)
    result = remove_user(context.project, name)
    if as_json:
        print_json(result)
    else:
        say(
            f"removed {result.user}, {_number(result.contacts, 'contact')} and "
            f"{_number(result.messages, 'waiting message')}"
        )
    if result.fault:
        note(
            f"the running server still finds {result.user} until the registration expires: "
            f"{result.fault}; rcsops restart ends that"
        )


_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl"]),
    help="CSV or JSON lines (by the name of FILE; CSV).",
)


@user.command("import")
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False))
@_format_option
@click.option("--skip-bad", is_flag=True, help="Leave out lines that are wrong, and add the rest.")
@click.option("--replace", is_flag=True, help="Change the password of those that are there.")
@click.option(
    "--store-password", is_flag=True, help="Store passwords themselves too, beside their hashes."
)
@json_option
@click.pass_obj
def import_(
    context: Context,
    file: str,
    form: str | None,
    skip_bad: bool,
    replace: bool,
    store_password: bool,
    as_json: bool,
) -> None:
    """Add the accounts of FILE (- for stdin): all of them, or none if a line is wrong.

    CSV has the names of its columns in the first line: user,password. JSON lines have one object
    each: {"user": "bob", "password": "..."}. In place of a password there may be hashes, as
    `rcsops user export` writes them: ha1, ha1_sha256, ha1_sha512t256.
    """
    from rcsops.operations.users_bulk import import_users

    with Progress(quiet=as_json) as progress, reading_accounts(file) as stream:
        result = import_users(
            context.project,
            stream,
            form or accounts_format(file),
            skip_bad=skip_bad,
            replace=replace,
            plain=store_password,
            on_count=lambda number: progress.count("imported", number),
        )
    if as_json:
        print_json(result)
    else:
        for each in result.bad[:_SHOWN_BAD]:
            note(f"line {each.line}: {each.reason}")
        if result.bad_lines > _SHOWN_BAD:
            note(f"... and {result.bad_lines - _SHOWN_BAD} more")
        replaced = f", changed {_number(result.replaced, 'account')}" if replace else ""
        left_out = f", left out {_number(result.bad_lines, 'line')}" if result.bad_lines else ""
        if result.done:
            say(f"added {_number(result.added, 'account')}{replaced}{left_out}")
        else:
            lines = "1 line is" if result.bad_lines == 1 else f"{result.bad_lines} lines are"
            say(f"nothing was added: {lines} wrong; --skip-bad adds the others")
    if not result.done:
        raise click.exceptions.Exit(1)


@user.command()
@click.argument("file", type=click.Path(allow_dash=True, dir_okay=False), default="-")
@_format_option
@click.option("--passwords", is_flag=True, help="With the passwords that are stored as they are.")
@json_option
@click.pass_obj
def export(context: Context, file: str, form: str | None, passwords: bool, as_json: bool) -> None:
    """Write all accounts with their hashes to FILE (stdout), for `rcsops user import`.

    A hash lets in like the password itself, so only its owner may read FILE.
    """
    from rcsops.operations.users_bulk import export_to, export_users

    kind = form or accounts_format(file)
    if file == "-":
        if as_json:
            raise UsageError("--json needs a FILE", hint="for JSON lines: --format jsonl")
        export_users(context.project, sys.stdout, kind, plain=passwords)
        return
    with Progress(quiet=as_json) as progress:
        result = export_to(
            context.project,
            Path(file),
            kind,
            plain=passwords,
            on_count=lambda number: progress.count("exported", number),
        )
    if as_json:
        print_json(result)
    else:
        say(f"wrote {_number(result.users, 'account')} to {result.path}")


def _password(account: str, from_stdin: bool, generate: bool) -> tuple[str, bool]:
    """The password, and whether it was generated."""
    if from_stdin and generate:
        raise UsageError("--password-stdin and --generate exclude each other")
    if from_stdin:
        data = sys.stdin.buffer.readline(_MAX_STDIN)
        try:
            return data.decode("utf-8").rstrip("\r\n"), False
        except UnicodeDecodeError:
            raise UsageError("the password on stdin is not UTF-8 text") from None
    if not generate and sys.stdin.isatty():
        answer = click.prompt(
            f"Password for {account}", hide_input=True, confirmation_prompt=True, err=True
        )
        return str(answer), False
    from rcsops.operations.users import generate_password

    return generate_password(), True


def _print_changed(
    account: str,
    algorithms: tuple[str, ...],
    what: str,
    password: str,
    generated: bool,
    as_json: bool,
) -> None:
    if as_json:
        secret = {"password": password} if generated else {}
        print_json({"user": account, "algorithms": algorithms, "generated": generated, **secret})
        return
    say(f"{what} {account}" if what == "added" else f"{what} the password of {account}")
    if generated:
        say(f"password: {password}")
        note("it was generated and is shown this once; for another: rcsops user passwd")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
