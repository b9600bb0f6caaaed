"""``rcsops config``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import confirm, json_option, note, print_json, say, visible, yes_option

if TYPE_CHECKING:
    from rcsops.opensips.config.problem import Problem


@click.group()
def config() -> None:
    """Make and look over the configuration of a real OpenSIPS.

    It is rendered from the settings of the project for the release that is installed. You may edit
    it: what you changed is shown by `diff`, and never written over unasked.
    """


@config.command()
@click.option("--stdout", is_flag=True, help="Print it instead of writing it.")
@click.option("--release", metavar="RELEASE", help="Render it for this release, such as 3.6.")
@yes_option
@json_option
@click.pass_obj
def render(context: Context, stdout: bool, release: str | None, yes: bool, as_json: bool) -> None:
    """Write opensips.cfg and secrets.cfg from the settings.

    Asks before it writes over changes that were made by hand; the changed file is kept beside it
    as opensips.cfg.old.
    """
    from rcsops.operations.config import plan, write

    planned = plan(context.project, release=release)
    if stdout and as_json:
        print_json(
            {"release": planned.release, "installed": planned.installed},
            text=planned.rendered.text,
        )
        return
    if stdout:
        click.echo(planned.rendered.text, nl=False)
        return
    if planned.changed_by_hand and not planned.current:
        names = " and ".join(planned.changed_by_hand)
        confirm(
            f"{names} in {planned.path.parent} was changed by hand (see: rcsops config diff). "
            "Write over it?",
            yes=yes,
        )
    done = write(context.project, planned)
    if as_json:
        print_json(done, release=planned.release, installed=planned.installed)
        return
    if done.written:
        say(f"wrote {', '.join(done.written)} for OpenSIPS {planned.release} in {done.path.parent}")
    else:
        say(f"{done.path} is as it should be; nothing was changed")
    for path in done.kept:
        say(f"what was changed by hand is in {path}")
    if not planned.installed:
        note("OpenSIPS is not installed yet: rcsops install")


@config.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--no-database", is_flag=True, help="Do not connect to the database.")
@json_option
@click.pass_obj
def check(context: Context, file: Path | None, no_database: bool, as_json: bool) -> None:
    """Look a configuration over: the project's own, or FILE.

    `opensips -C` reads it, and rcsops looks for what that does not see: routes that are called and
    not there, relative paths, files that are missing, a database that does not answer. Exit code 1
    when a server would not start with it.
    """
    from rcsops.operations.config import check as check_config

    result = check_config(context.project, file, database=not no_database)
    if as_json:
        print_json(result, ok=result.ok)
    else:
        for problem in result.problems:
            _print_problem(problem)
        if not result.version:
            note("OpenSIPS is not installed: only the text was looked at (rcsops install)")
        by = f"OpenSIPS {result.version}" if result.version else "what can be seen without it"
        errors = sum(not each.warning for each in result.problems)
        if result.ok:
            say(f"{result.path} is fine by {by}")
        else:
            say(f"{errors} {'error' if errors == 1 else 'errors'} in {result.path}, by {by}")
    if not result.ok:
        raise click.exceptions.Exit(1)


@config.command()
@click.option("--path", "path_only", is_flag=True, help="Print only where the file is.")
@json_option
@click.pass_obj
def show(context: Context, path_only: bool, as_json: bool) -> None:
    """Print the configuration, and where it is.

    It holds no secrets: those are in secrets.cfg beside it.
    """
    from rcsops.operations.config import show as show_config

    shown = show_config(context.project)
    if as_json:
        print_json(shown)
        return
    if path_only:
        click.echo(str(shown.path))
        return
    changed = ", changed by hand (rcsops config diff)" if shown.changed_by_hand else ""
    note(f"{shown.path}{changed}")
    for line in shown.text.splitlines():
        click.echo(_shown(line))


@config.command()
@click.option("--pending", is_flag=True, help="Show what `render` would change instead.")
@json_option
@click.pass_obj
def diff(context: Context, pending: bool, as_json: bool) -> None:
    """Show what was changed by hand since the last `render`."""
    from rcsops.operations.config import diff as diff_config

    lines = diff_config(context.project, pending=pending)
    if as_json:
        print_json({"changed": bool(lines), "lines": lines})
        return
    if not lines:
        note("nothing would change" if pending else "nothing was changed by hand")
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        colour = None if line.startswith(("+++", "---")) else colours.get(line[:1])
        click.echo(click.style(_shown(line), fg=colour) if sys.stdout.isatty() else _shown(line))


def _print_problem(problem: "Problem") -> None:
    """As compilers do: the place, what is wrong, the line itself, and a caret below it."""
    kind = "warning" if problem.warning else "error"
    concern = f" [{problem.concern}]" if problem.concern else ""
    say(f"{problem.place}: {kind}: {problem.text}{concern}")
    if problem.source_line:
        number = f"{problem.line:>5} | "
        click.echo(number + _shown(problem.source_line))
        if problem.caret:
            click.echo(" " * (len(number) - 2) + "| " + problem.caret)
    if problem.hint:
        say(f"{'':>7} {problem.hint}")


def _shown(line: str) -> str:
    """A line of a file with its tabs, and nothing that a terminal would obey."""
    return "\t".join(visible(each) for each in line.split("\t"))
