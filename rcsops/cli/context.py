"""What every command is given: the project that it works on, and how to talk to the person.

A command takes it with ``@click.pass_obj``::

    @click.command()
    @json_option
    @click.pass_obj
    def status(context: Context, as_json: bool) -> None: ...
"""

import functools
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rcsops.settings import Project


class Context:
    """The options that stand before the command."""

    def __init__(
        self, directory: str | None = None, engine: str | None = None, verbose: int = 0
    ) -> None:
        self.directory = directory
        self.engine = engine
        self.verbose = verbose

    @functools.cached_property
    def project(self) -> "Project":
        """The project, looked for on first use; raises `SettingsError`."""
        from rcsops.settings import Project

        return Project.find(self.directory, engine=self.engine)


def complete_user(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Completes the name of a user from the local credentials; for ``shell_complete=``."""
    from rcsops.errors import RcsopsError

    try:
        project = (context.find_object(Context) or Context()).project
        suffix = f"@{project.settings.domain}"
        names = [account.removesuffix(suffix) for account in project.credentials.accounts()]
    except RcsopsError:
        return []
    return [name for name in names if name.startswith(incomplete)]
