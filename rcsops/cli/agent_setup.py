"""The options that every command with an agent of its own has, and the agent made of them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rcsops.cli.chat_setup import agent_tls, choose_bind, local_server, secret_of

if TYPE_CHECKING:
    from rcsops.operations.names import UserName
    from rcsops.settings import Project
    from rcsops.sip import Credential
    from rcsops.transport import Tap
    from rcsops.ua import Agent

__all__ = ["AgentChoices", "AgentSetup", "agent_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class AgentChoices:
    """What was chosen on the command line; None is what the settings say."""

    server: str | None
    transport: str | None
    domain: str | None
    bind: str | None
    start_server: bool
    trace: Path | None


_OPTIONS = (
    click.option("--server", metavar="URI", help="SIP server: HOST[:PORT] or sip:… (own one)."),
    click.option(
        "--transport",
        type=click.Choice(["tcp", "udp", "tls", "ws", "wss", "auto"]),
        help="To the server (tcp); tls and wss are encrypted; auto: what the DNS says.",
    ),
    click.option("--domain", help="SIP domain of the user (the project's)."),
    click.option(
        "--bind", metavar="ADDRESS", help="Our own address (one that reaches the server)."
    ),
    click.option(
        "--start", "start_server", is_flag=True, help="Start the local server if none runs."
    ),
    click.option(
        "--trace",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write every SIP and MSRP message to FILE as JSON lines.",
        metavar="FILE",
    ),
)


def agent_options(command: _Command) -> _Command:
    """Adds the options; the command gets them together as its argument ``choices``."""

    @functools.wraps(command)
    def gathering(*arguments: Any, **given: Any) -> Any:
        names = ("server", "transport", "domain", "bind", "start_server", "trace")
        choices = AgentChoices(**{name: given.pop(name) for name in names})
        return command(*arguments, choices=choices, **given)

    for option in reversed(_OPTIONS):
        option(gathering)
    return gathering  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class AgentSetup:
    """What an agent of a project's user needs; ``server`` is its address as a person names it."""

    project: "Project"
    account: "UserName"
    domain: str
    server: str
    transport: str
    bind: str
    credential: "Credential"
    directory: Path

    @classmethod
    def of(cls, project: "Project", user: str, choices: AgentChoices) -> "AgentSetup":
        """Looks up what was not chosen; asks for a password, and starts the server, where that is
        wanted. Raises RcsopsError."""
        from rcsops.operations.names import parse_user

        settings = project.settings
        domain = (choices.domain or settings.domain).lower()
        account = parse_user(user, domain)
        transport = choices.transport or settings.agent_transport
        server = choices.server or settings.agent_server
        credential = secret_of(project, account, local=not server)
        server = server or local_server(project, transport, start=choices.start_server)
        return cls(
            project=project,
            account=account,
            domain=domain,
            server=server,
            transport=transport,
            bind=choices.bind or choose_bind(settings.agent_bind, server, dns=settings.dns),
            credential=credential,
            directory=project.make_agent_dir(str(account)),
        )

    def agent(
        self, *, tap: "Tap | None", instance_id: str | None = None, asking: bool = False
    ) -> "Agent":
        """The agent, with the user's history. Without ``instance_id`` it is a device of its own,
        which nobody knows before and after. ``asking``: no file is taken without a question."""
        from rcsops.ua import Agent

        settings = self.project.settings
        rules = settings.file_rules
        return Agent(
            f"sip:{self.account}",
            server=self.server,
            transport=self.transport,
            credential=self.credential,
            min_algorithm=settings.digest_min_algorithm,
            bind=self.bind,
            tap=tap,
            dns=settings.dns,
            history=self.directory / "history.db",
            capabilities=self.directory / "capabilities.json",
            instance_id=instance_id,
            tls=agent_tls(self.project),
            display_notifications=settings.agent_display_notifications,
            idle_timeout=settings.agent_idle_timeout,
            max_pager_size=settings.agent_max_pager_size,
            file_rules=rules.asking() if asking else rules,
            max_file_size=settings.files_max_size,
            disk_reserve=settings.files_reserve,
            resume_seconds=settings.files_resume_seconds,
            msrp_security=settings.agent_msrp_security,
            transfers=self.directory / "transfers",
            content=settings.upload_url,
            content_hosts=settings.agent_content_hosts,
        )
