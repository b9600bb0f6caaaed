"""``rcsops capabilities``."""

from typing import TYPE_CHECKING

import click

from rcsops.cli.agent_setup import AgentChoices, AgentSetup, agent_options
from rcsops.cli.chat_setup import tap_to
from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, print_json, print_table, say
from rcsops.errors import UsageError

if TYPE_CHECKING:
    from rcsops.rcs import Capabilities

_SECONDS = 10.0


@click.command()
@click.argument("names", nargs=-1, metavar="[USER] PEER", shell_complete=complete_user)
@click.option(
    "--as", "user", metavar="USER", shell_complete=complete_user, help="Ask as this user."
)
@click.option("--known", is_flag=True, help="Show what is known from the last day; ask nobody.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=_SECONDS,
    metavar="SECONDS",
    help=f"A peer that does not answer for so long is offline ({_SECONDS:g}).",
)
@agent_options
@json_option
@click.pass_obj
def capabilities(
    context: Context,
    names: tuple[str, ...],
    user: str | None,
    known: bool,
    timeout: float,
    choices: AgentChoices,
    as_json: bool,
) -> int:
    """Ask PEER's devices as USER what they can do (SIP OPTIONS), and show it.

    Without USER, it is the one account whose password is kept here, PEER's own left out. USER
    does not register for it, and what others write is left to the devices that somebody reads.

    The exit code is 0 when PEER is online with RCS, 1 when it is not, or is not known.
    """
    from rcsops.logs import log_to_stderr
    from rcsops.operations.capabilities import ask, remembered
    from rcsops.operations.names import parse_user
    from rcsops.operations.terminations import run_to_its_end
    from rcsops.ua import Agent

    log_to_stderr("WARNING")
    user, peer = _who(context, names, user, choices)
    if known:
        project = context.project
        domain = (choices.domain or project.settings.domain).lower()
        account = parse_user(user, domain)
        kept = project.make_agent_dir(str(account)) / "capabilities.json"
        found = remembered(Agent(f"sip:{account}", capabilities=kept), peer)
    else:
        setup = AgentSetup.of(context.project, user, choices)
        account, domain = setup.account, setup.domain
        with tap_to(choices.trace, account.username) as tap:
            found = run_to_its_end(ask(setup.agent(tap=tap), peer, seconds=timeout))
    if as_json:
        _print_json(f"sip:{account}", found)
    else:
        _print(found, domain)
    return 0 if found.online else 1


def _who(
    context: Context, names: tuple[str, ...], user: str | None, choices: AgentChoices
) -> tuple[str, str]:
    """The user that asks, and the peer; found out where it can be."""
    if len(names) == 2 and user is None:
        return names[0], names[1]
    if len(names) != 1:
        raise UsageError(
            "whose capabilities?" if not names else "one USER and one PEER",
            hint="rcsops capabilities alex bob, or rcsops capabilities bob --as alex",
        )
    peer = names[0]
    if user is not None:
        return user, peer
    domain = (choices.domain or context.project.settings.domain).lower()
    suffix = f"@{domain}"
    accounts = [each for each in context.project.credentials.accounts() if each.endswith(suffix)]
    asked = peer.removeprefix("sip:")
    others = [each for each in accounts if each not in (asked, f"{asked}{suffix}")]
    if len(others) == 1:
        return others[0].removesuffix(suffix), peer
    some = ", ".join(each.removesuffix(suffix) for each in others[:5])
    raise UsageError(
        f"as whom? {len(others)} accounts are kept here: {some}"
        if others
        else "as whom? no password of another account is kept here",
        hint=f"name the user first: rcsops capabilities USER {peer}",
    )


def _print(found: "Capabilities", domain: str) -> None:
    from rcsops.operations.capabilities import SERVICES, verdict
    from rcsops.operations.wording import short_name

    name = short_name(found.peer, domain)
    say(verdict(found, name))
    if found.services:
        rows = [
            (words, "yes" if service in found.services else "no")
            for service, words in SERVICES.items()
        ]
        print_table(["service", name], rows)


def _print_json(user: str, found: "Capabilities") -> None:
    from rcsops.operations.capabilities import SERVICES

    print_json(
        {
            "user": user,
            "peer": found.peer,
            "state": found.state.value,
            "online": found.online,
            "services": {
                service.value.replace("-", "_"): service in found.services for service in SERVICES
            },
            "status": found.status,
            "asked_at": found.asked_at and found.asked_at.astimezone().isoformat(),
            "learned_at": found.learned_at and found.learned_at.astimezone().isoformat(),
        }
    )
