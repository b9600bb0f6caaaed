"""A unit of systemd for the server, and a configuration for logrotate."""

import os
import pwd
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rcsops.errors import UsageError
from rcsops.opensips.process import find_account
from rcsops.server.run_files import RunFiles
from rcsops.settings import Project, sqlite_file

__all__ = ["ServiceUnit", "logrotate_text", "plan_service"]

_LOWEST_FREE_PORT = 1024


@dataclass(frozen=True, slots=True)
class ServiceUnit:
    """A unit file; ``notes`` are for a person."""

    text: str
    user: str
    notes: tuple[str, ...]


def plan_service(project: Project, *, user: str = "", group: str = "") -> ServiceUnit:
    """The unit for a project. systemd starts the server as ``user``, who must own the project; a
    project of root's is OpenSIPS's to start, which gives its rights up itself.

    Raises `UsageError` for a user or group that is not there.
    """
    settings = project.settings
    place = project.directory if project.directory.exists() else project.state_dir
    owner = pwd.getpwuid(place.stat().st_uid).pw_name if place.exists() else ""
    user = user or owner
    if user:
        find_account(user, group)
    if group and user == owner and owner != "root":
        raise UsageError(
            "--group needs a project of root's and --user",
            hint="nobody else can enter the private directories of this project",
        )
    notes = []
    drops = owner == "root" and user != "root"
    if drops and settings.engine == "embedded":
        raise UsageError(
            f"the project belongs to root, and {user} could not use it",
            hint=f"give it to that user: chown -R {user} {project.directory}",
        )
    if user == "root":
        notes.append("the server will run as root; give it a user of its own: --user NAME")
    words = [*_rcsops(), "--project", str(project.directory), "start", "--foreground"]
    if drops:
        words += ["--user", user, *(["--group", group] if group else [])]
    addresses = [*settings.listen_addresses]
    addresses += [settings.content.address] if settings.content.listen else []
    low = any(each.port < _LOWEST_FREE_PORT for each in addresses)
    rights = ["CAP_NET_BIND_SERVICE"] if low else []
    if drops:
        rights += ["CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_FOWNER", "CAP_DAC_OVERRIDE"]
        rights += ["CAP_KILL", "CAP_SYS_PTRACE"]
    lines = [
        "# Written by `rcsops service`.",
        "[Unit]",
        f"Description=SIP server of {settings.domain} (rcsops, {settings.engine})",
        "Documentation=man:systemd.exec(5)",
        f"After=network-online.target{_after_database(project)}",
        "Wants=network-online.target",
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(map(_quoted, words))}",
        "Restart=on-failure",
        "RestartSec=2",
        "TimeoutStartSec=60",
        "TimeoutStopSec=90",
        "# rcsops ends the server in good order; what is left after that is killed.",
        "KillMode=mixed",
        *([] if drops or user in ("", "root") else [f"User={user}"]),
        "UMask=0077",
        "LimitNOFILE=65536",
        "",
        "# What a SIP server has no use for.",
        "NoNewPrivileges=yes",
        f"CapabilityBoundingSet={' '.join(rights)}",
        *([f"AmbientCapabilities={' '.join(rights)}"] if low and not drops else []),
        "ProtectSystem=strict",
        f"ReadWritePaths={' '.join(map(_quoted, _written(project, drops=drops)))}",
        "ProtectHome=read-only",
        f"PrivateTmp={'no' if _in_tmp(project) else 'yes'}",
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectControlGroups=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes" if not drops else "# RestrictSUIDSGID would forbid the group's bit.",
        "LockPersonality=yes",
        "MemoryDenyWriteExecute=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return ServiceUnit("\n".join(lines), user, tuple(notes))


def logrotate_text(project: Project) -> str:
    """A configuration for logrotate. The server keeps its log open, so it is copied and cut."""
    log = RunFiles(project.run_dir).log
    return (
        "# Written by `rcsops service --logrotate`; put it into /etc/logrotate.d/.\n"
        f"{_quoted(str(log))} {{\n"
        f"    su {_owner(project)}\n"
        "    weekly\n    maxsize 100M\n    rotate 8\n    compress\n    delaycompress\n"
        "    missingok\n    notifempty\n    copytruncate\n}\n"
    )


def _rcsops() -> list[str]:
    """How systemd calls rcsops: by absolute paths."""
    script = shutil.which("rcsops", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "rcsops"]


def _written(project: Project, *, drops: bool) -> list[str]:
    """The directories that the server writes to."""
    file = sqlite_file(project.settings.database_url)
    wanted = [project.state_dir, *([Path("/run")] if drops else [project.run_dir])]
    wanted += [file.parent] if file is not None else []
    return list(dict.fromkeys(map(str, wanted)))


def _in_tmp(project: Project) -> bool:
    """Whether something that the server needs would be hidden by a /tmp of its own."""
    places = (project.directory, project.run_dir, Path(_rcsops()[0]))
    return any(Path("/tmp") in place.parents for place in places)  # noqa: S108


def _after_database(project: Project) -> str:
    return "" if sqlite_file(project.settings.database_url) else " mariadb.service mysql.service"


def _owner(project: Project) -> str:
    place = project.state_dir if project.state_dir.exists() else Path(os.curdir)
    entry = pwd.getpwuid(place.stat().st_uid)
    return f"{entry.pw_name} {entry.pw_gid}"


def _quoted(text: str) -> str:
    """A word of a unit file or of logrotate's: % begins a specifier there."""
    text = text.replace("%", "%%")
    if any(character in text for character in ' "\\$'):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
    return text
