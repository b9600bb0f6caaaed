"""``rcsops``: the group that all commands hang on, and how every ending looks.

Commands are imported on use. An error is two lines on stderr, ``error: …`` and ``hint: …``, or with
``--json`` one object; it never is a traceback, unless RCSOPS_DEBUG is set.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from rcsops import __version__
from rcsops.cli.context import Context
from rcsops.cli.table import COMMANDS, GROUPS
from rcsops.errors import RcsopsError, UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group whose commands are named in `COMMANDS` and imported when one is invoked."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        from importlib import import_module

        try:
            module = import_module(f"rcsops.cli.{entry.module}")
            command = getattr(module, entry.attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            if isinstance(error, ModuleNotFoundError) and not _ours(error.name):
                raise RcsopsError(
                    f"the Python package {error.name}, which {cmd_name!r} needs, is not installed",
                    hint="install rcsops again: pip install --force-reinstall rcsops",
                ) from error
            raise RcsopsError(f"this version of rcsops has no {cmd_name!r}") from error
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not ctx.resilient_parsing:
            raise UsageError(f"there is no command {name!r}", hint=_nearest(name, COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, entries in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(width), entry.help) for name, entry in entries.items()]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        items = [
            CompletionItem(name, help=entry.help)
            for name, entry in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Type `rcsops COMMAND --help` for a command. First steps: rcsops db create, "
    "rcsops user add bob, rcsops chat bob.",
)
@click.version_option(__version__, "--version", message="rcsops %(version)s")
@click.option(
    "-C",
    "--project",
    "directory",
    metavar="DIR",
    envvar="RCSOPS_PROJECT",
    type=click.Path(file_okay=False),
    help="Work on the project of DIR instead of the current directory.",
)
@click.option(
    "--engine",
    type=click.Choice(["embedded", "opensips"]),
    help="Take this SIP server, whatever the settings say.",
)
@click.option("-v", "--verbose", count=True, help="Say more; -vv for everything.")
@click.pass_context
def cli(ctx: click.Context, directory: str | None, engine: str | None, verbose: int) -> None:
    """One-to-one RCS chat over SIP: a server, its users, and their chats."""
    if directory == "":
        raise UsageError("--project has no value", hint="leave it out for the current directory")
    ctx.obj = Context(directory, engine, verbose)
    if verbose:
        from rcsops.logs import log_to_stderr

        log_to_stderr("DEBUG" if verbose > 1 else "INFO")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script: runs a command and ends the process with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered must not be tried again
        # when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result = cli.main(arguments, prog_name="rcsops", standalone_mode=False)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as wanted:
        click.echo(wanted.format_message(), err=True)
        return wanted.exit_code
    except click.ClickException as error:
        # click puts its own suggestion behind the message; ours is the hint.
        message = error.format_message().partition(" Did you mean")[0].partition(" (Did you")[0]
        _report(message.rstrip("."), _usage_hint(error), arguments)
        return error.exit_code
    except RcsopsError as error:
        if os.environ.get("RCSOPS_DEBUG"):
            raise
        _report(str(error), error.hint, arguments)
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        # What the machine refuses (a full disk, too many files) is no fault of ours to report.
        if os.environ.get("RCSOPS_DEBUG"):
            raise
        _report(str(error), "", arguments)
        return 1
    except Exception as error:
        if os.environ.get("RCSOPS_DEBUG"):
            raise
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "this is a fault of rcsops; RCSOPS_DEBUG=1 before the command shows where"
        _report(f"internal error: {said}", hint, arguments)
        return 1
    return result if isinstance(result, int) else 0


def _report(message: str, hint: str, arguments: Sequence[str]) -> None:
    from rcsops.cli.output import visible

    if wants_json(arguments):
        import json

        click.echo(json.dumps({"error": message, "hint": hint}), err=True)
        return
    # https://no-color.org; None leaves it to click, which colours for terminals alone.
    color = False if os.environ.get("NO_COLOR") else None
    error = click.style("error:", fg="red", bold=True)
    click.echo(f"{error} {visible(message)}", err=True, color=color)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {visible(hint)}", err=True, color=color)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` stands among the arguments (also when they cannot be parsed)."""
    before = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in before


def _usage_hint(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        near = [*_options_with(error.option_name, error.ctx), *(error.possibilities or ())]
    else:
        near = sorted(getattr(error, "possibilities", None) or ())
    if near:
        return f"did you mean {near[0]!r}?"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"type: {error.ctx.command_path} --help"
    return ""


def _options_with(word: str, context: click.Context | None) -> list[str]:
    """The long options of a command of which ``word`` is a part: difflib, which knows no words,
    would rather have one with as many letters."""
    if context is None:
        return []
    options = [name for each in context.command.get_params(context) for name in each.opts]
    parts = {name: name.lstrip("-").split("-") for name in options if name.startswith("--")}
    return [name for name, words in parts.items() if word.lstrip("-") in words]


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"one of: {', '.join(names)}"


def _ours(module: str | None) -> bool:
    return module is not None and module.startswith("rcsops.cli.")
