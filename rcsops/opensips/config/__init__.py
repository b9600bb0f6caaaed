"""The configuration of a real OpenSIPS: rendered from templates, checked, compared."""

from rcsops.opensips.config.cli_config import CLI, render_cli
from rcsops.opensips.config.database_url import driver, opensips_url
from rcsops.opensips.config.model import ConfigModel, Secrets, Tls
from rcsops.opensips.config.render import MAIN, SECRETS, Rendered, concerns, render

__all__ = [
    "CLI",
    "MAIN",
    "SECRETS",
    "ConfigModel",
    "Rendered",
    "Secrets",
    "Tls",
    "concerns",
    "driver",
    "opensips_url",
    "render",
    "render_cli",
]
