"""``rcsops init``."""

import sys
from pathlib import Path

import click

from rcsops.cli.context import Context
from rcsops.cli.output import confirm, json_option, print_json, say, yes_option
from rcsops.errors import UsageError


@click.command()
@click.option("--domain", help="SIP domain of the accounts, such as rcs.example.")
@click.option(
    "--listen",
    multiple=True,
    metavar="TRANSPORT:ADDRESS:PORT",
    help="Where the server listens; may be given several times.",
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the project, made if missing (the current one).",
)
@yes_option
@json_option
@click.pass_obj
def init(
    context: Context,
    domain: str | None,
    listen: tuple[str, ...],
    directory: Path | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Write rcsops.toml, with every setting explained.

    On a terminal it asks for what is not given; --yes takes the defaults. Where the file is there
    already, only what is given here is changed in it, after a question.
    """
    from rcsops.operations.init import initialise, planned_changes
    from rcsops.settings import CONFIG_NAME, Settings

    # Without --directory, -C names the directory here as everywhere.
    target = directory or Path(context.directory or ".")
    path = target / CONFIG_NAME
    for name, given in (("--domain", (domain,)), ("--listen", listen)):
        if "" in given:
            raise UsageError(f"{name} has no value", hint="leave it out for the default")
    if not path.exists() and not yes and not as_json and sys.stdin.isatty():
        defaults = Settings()
        if domain is None:
            domain = click.prompt("SIP domain of the accounts", default=defaults.domain, err=True)
        if not listen:
            answer = click.prompt(
                "The server listens at", default=",".join(defaults.listen), err=True
            )
            listen = tuple(answer.replace(",", " ").split())
    changes = planned_changes(path, domain=domain, listen=listen)
    if changes:
        text = ", ".join(f"{key} from {old} to {new}" for key, (old, new) in changes.items())
        confirm(f"Change {text} in {path}?", yes=yes)
    result = initialise(target, domain=domain, listen=listen)
    if as_json:
        print_json(result)
    elif result.created:
        say(f"wrote {result.path}: domain {result.settings.domain}, engine embedded")
        secure = {"tls", "wss"} & {each.transport for each in result.settings.listen_addresses}
        certs = "rcsops certs, " if secure else ""
        say(f"next: {certs}rcsops db create, rcsops user add bob, rcsops chat bob")
    elif result.changed:
        say(f"changed {', '.join(result.changed)} in {result.path}")
    else:
        say(f"{result.path} is there already; nothing was changed")
