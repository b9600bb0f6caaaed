"""``rcsops install``."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import json_option, note, print_json, say, visible
from rcsops.errors import UsageError

if TYPE_CHECKING:
    from rcsops.operations.install import (
        BuildProgress,
        Event,
        InstallResult,
        Listener,
        Transfer,
    )

_INTERRUPTED = (
    "stopped: nothing was installed or changed. What is compiled is kept; the same command goes on."
)


def complete_release(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """The known releases; for ``shell_complete=``."""
    from rcsops.opensips.releases import RELEASES

    return [each.version for each in RELEASES if each.version.startswith(incomplete)]


@click.command()
@click.option(
    "--release",
    default="",
    shell_complete=complete_release,
    metavar="VERSION",
    help="3.0.2 (the default), 3.4.18, 3.6.8, 4.0.1; 3.6 is the newest known of its line.",
)
@click.option(
    "--from",
    "source",
    default="",
    metavar="URL|DIR|TARBALL|GIT",
    help="Where the source comes from, if not from upstream.",
)
@click.option(
    "--prefix",
    default="",
    metavar="DIR",
    help="Where it goes; by default a private directory of the project.",
)
@click.option(
    "--modules",
    multiple=True,
    metavar="NAMES",
    help="Modules beyond those that rcsops needs, with commas between; 'all' as upstream.",
)
@click.option("--jobs", type=click.IntRange(1, 512), help="Compilers at a time (one a processor).")
@click.option(
    "--packages",
    is_flag=True,
    help="Install the Debian packages that it needs, and the database server.",
)
@click.option("--dry-run", is_flag=True, help="Only show the plan, step by step.")
@click.option("--force", is_flag=True, help="Build it anew though it is there.")
@click.option("--keep-source", is_flag=True, help="Do not remove the source when it is installed.")
@click.option(
    "--allow-modified", is_flag=True, help="Take a source that is not as upstream published it."
)
@click.option(
    "--adopt",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[PATH]",
    help="Use an OpenSIPS that is here already, instead of building one.",
)
@json_option
@click.pass_obj
def install(
    context: Context,
    release: str,
    source: str,
    prefix: str,
    modules: tuple[str, ...],
    jobs: int | None,
    packages: bool,
    dry_run: bool,
    force: bool,
    keep_source: bool,
    allow_modified: bool,
    adopt: str | None,
    as_json: bool,
) -> None:
    """Build OpenSIPS from source, or adopt one, and use it as the server of this project.

    What is installed already stays in use until the new one is complete and checked. Doing it
    again does only what is left to do.
    """
    from rcsops.operations.install import InstallOptions, plan_install
    from rcsops.operations.install import install as install_release

    if adopt is not None:
        if release or source or prefix or modules or force or dry_run or packages:
            raise UsageError(
                "--adopt takes what is there: it builds nothing",
                hint="leave the other options out",
            )
        from rcsops.operations.adopt import adopt as adopt_installation

        place = Path(os.path.expanduser(adopt)) if adopt else None
        _print(adopt_installation(context.project, place), as_json)
        return
    options = InstallOptions(
        release=release,
        source=source,
        prefix=prefix,
        modules=tuple(name for text in modules for name in text.replace(",", " ").split()),
        jobs=jobs or 0,
        packages=packages,
        force=force,
        keep_source=keep_source,
        allow_modified=allow_modified,
        base=Path.cwd(),
    )
    plan = plan_install(context.project, options)
    if dry_run:
        if as_json:
            print_json(
                {"release": plan.release.version, "prefix": plan.prefix},
                building=plan.building,
                core=plan.core,
                steps=plan.steps(),
            )
            return
        for number, step in enumerate(plan.steps(), 1):
            say(f"{number}. {step}")
        return
    try:
        with _progress(as_json) as listener:
            result = install_release(context.project, options, listener, plan=plan)
    except KeyboardInterrupt:
        note(_INTERRUPTED)
        raise
    _print(result, as_json)


def _print(result: "InstallResult", as_json: bool) -> None:
    if as_json:
        print_json(result)
        return
    place = f"{result.version} in {result.prefix} with {len(result.modules)} modules"
    if result.built:
        say(f"installed OpenSIPS {place}, in {result.seconds:.0f} s")
    elif result.adopted:
        say(f"OpenSIPS {place} serves this project")
    else:
        say(f"there is OpenSIPS {place}; nothing was to be done")
    if "engine" in result.settings:
        say(f"the engine of this project is now opensips, in {result.config_path}")
    for warning in result.warnings:
        note(f"note: {warning}")
    if "engine" in result.settings:
        say("next: rcsops db create, rcsops user add bob, rcsops start")


@contextlib.contextmanager
def _progress(as_json: bool) -> "Iterator[Listener]":
    """Shows what is going on, on a terminal; quiet for programs."""
    if as_json or not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
    from rich.text import Text

    from rcsops.operations.install import Step

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[facts]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, facts="")

        def show(event: "Event") -> None:
            if isinstance(event, Step):
                progress.console.print(Text(visible(event.text), style="dim"))
                first = event.text.partition(" ")[0]
                progress.update(task, description=first, total=None, facts="")
                # A bar that is drawn again and again would hide the question.
                (progress.stop if event.asks else progress.start)()
                return
            done, total, said = _facts(event)
            progress.update(task, completed=done, total=total, facts=said)

        yield show


def _facts(event: "Transfer | BuildProgress") -> tuple[int, int | None, str]:
    """How far, of how much, and in words."""
    from rcsops.operations.install import Transfer

    if isinstance(event, Transfer):
        whole = f" of {event.total / 1e6:.1f}" if event.total else ""
        return event.done, event.total, f"{event.done / 1e6:.1f}{whole} MB"
    left = "" if event.remaining is None else f", {_time(event.remaining)} left"
    files = f"{event.done} of {event.total} files, {event.module or 'installing'}{left}"
    return event.done, event.total, files


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
