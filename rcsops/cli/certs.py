"""``rcsops certs``."""

from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context
from rcsops.cli.output import confirm, json_option, note, print_json, say, yes_option

if TYPE_CHECKING:
    from rcsops.operations.certs import CertView


@click.command()
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    help="A further name or address of the server; may be given several times.",
)
@click.option(
    "--client",
    "clients",
    multiple=True,
    metavar="NAME",
    help="Make one for a client too, for servers that ask clients for theirs.",
)
@click.option(
    "--days",
    default=397,
    show_default=True,
    type=click.IntRange(1, 3650),
    help="For how long a certificate is good.",
)
@click.option("--renew", is_flag=True, help="Make the certificates anew; the authority stays.")
@click.option(
    "--renew-authority", is_flag=True, help="Make the authority anew too, after a question."
)
@yes_option
@json_option
@click.pass_obj
def certs(
    context: Context,
    names: tuple[str, ...],
    clients: tuple[str, ...],
    days: int,
    renew: bool,
    renew_authority: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Make a private authority for a lab, and the server's certificate for TLS.

    What is there is kept, and shown; it is renewed in its last 30 days, or when the server has got
    a new name. Server and agents of this project find it by themselves. Elsewhere, name ca.pem as
    `ca` in [tls].
    """
    from rcsops.operations.certs import make_certs

    project = context.project
    if renew_authority and (project.tls_dir / "ca.pem").exists():
        confirm("Whoever trusts the old authority will need the new one. Go on?", yes=yes)
    result = make_certs(
        project,
        names=names,
        clients=clients,
        days=days,
        renew=renew,
        renew_authority=renew_authority,
    )
    if as_json:
        print_json(result, changed=result.changed)
        return
    for view in result.certificates:
        _show(view)
    if result.unused:
        note(f"[tls] of rcsops.toml names another certificate for the server: {result.unused}")
    if any(each.role == "server" and each.done == "renewed" for each in result.certificates):
        note("a server that runs has the old one until: rcsops restart")


def _show(view: "CertView") -> None:
    done = f"{view.done}, {view.why}" if view.why else view.done
    say(f"{view.role}: {view.certificate} ({done})")
    if view.names:
        say(f"  for      {', '.join(view.names)}")
    left = f"{view.days_left} days left" if view.days_left >= 0 else "expired"
    say(f"  until    {view.not_after:%Y-%m-%d %H:%M} UTC, {left}")
    say(f"  SHA-256  {view.fingerprint}")
