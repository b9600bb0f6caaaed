"""What an agent was told when it was made."""

from dataclasses import dataclass, field
from pathlib import Path

from rcsops.settings import FileRules
from rcsops.sip import Credential, Uri

__all__ = ["AgentOptions"]


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """What an agent was told; see ``Agent``."""

    server: Uri | None
    transport: str
    password: str | None = field(repr=False)
    credential: Credential | None = field(repr=False)
    realm: str
    min_algorithm: str
    display_name: str
    history: Path | None
    expires: int
    max_sessions: int
    max_message_size: int
    max_pager_size: int
    max_file_size: int
    downloads: Path | None
    capabilities: Path | None
    file_rules: FileRules | None
    disk_reserve: int
    file_chunk: int
    transfers: Path | None
    resume_seconds: float
    answer_setup: str
    msrp_security: str
    invite_seconds: float
    session_expires: int
    gruu: bool
    check_seconds: float
    retry_base: float
    retry_max: float
    display_notifications: bool
    resend_seconds: float
    idle_timeout: float
    content: str
    content_hosts: tuple[str, ...]
