"""What a project is: rcsops.toml, its directories, and the credentials kept for local use."""

from rcsops.settings.content import CONTENT_PATH, Content
from rcsops.settings.credentials import CredentialStore
from rcsops.settings.database_url import (
    masked_url,
    refuse_socket,
    secret_name,
    sqlite_file,
    url_password,
    url_with_password,
)
from rcsops.settings.directories import private_directory
from rcsops.settings.file_rules import FileRule, FileRules, FileVerdict
from rcsops.settings.limits import Limits
from rcsops.settings.listen import Listen, parse_listen
from rcsops.settings.model import DIGEST_ALGORITHMS, ENGINES, MSRP_SECURITY, Settings
from rcsops.settings.project import CONFIG_NAME, Project
from rcsops.settings.reading import parse_settings
from rcsops.settings.secrets import SecretStore
from rcsops.settings.values import valid_domain

__all__ = [
    "CONFIG_NAME",
    "CONTENT_PATH",
    "DIGEST_ALGORITHMS",
    "ENGINES",
    "MSRP_SECURITY",
    "Content",
    "CredentialStore",
    "FileRule",
    "FileRules",
    "FileVerdict",
    "Limits",
    "Listen",
    "Project",
    "SecretStore",
    "Settings",
    "masked_url",
    "parse_listen",
    "parse_settings",
    "private_directory",
    "refuse_socket",
    "secret_name",
    "sqlite_file",
    "url_password",
    "url_with_password",
    "valid_domain",
]
