"""What a live test is about: a feature, on a server, with a database.

A test says so by its parameters (an `Installation`, a `Case`, a database) and by markers:
``feature`` (else the name of its module), ``server`` for another peer than one OpenSIPS,
``database``.
"""

import re
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

import rcsops
from rcsops.opensips.installed import Installation
from rcsops.testing import EmbeddedServer, KamailioServer
from rcsops.testing.mariadb import PATH, MariaDbServer
from rcsops.testing.opensips import OpenSipsServer, find_opensips

INSTALLATIONS = find_opensips()
NO_OPENSIPS = "no OpenSIPS with db_sqlite here; RCSOPS_TEST_OPENSIPS names the prefixes of some"
DATABASES = ("sqlite", "mariadb")
# A database that nobody named: the test needs none, or not one in particular.
NONE = "none"
ALL_RELEASES = "all releases"


@dataclass(frozen=True, slots=True)
class Case:
    """An OpenSIPS and the kind of database under it: a name of DATABASES."""

    installation: Installation
    database: str

    @property
    def name(self) -> str:
        """What stands in the name of a test."""
        return f"{self.installation.version}-{self.database}"


CASES = [
    Case(installation, database)
    for installation in INSTALLATIONS
    for database in DATABASES
    if database == "sqlite" or "db_mysql" in installation.modules
]


@dataclass(frozen=True, slots=True)
class Other:
    """A server that is no OpenSIPS: ``server`` is its name in the matrix."""

    server: str
    database: str = "sqlite"

    @property
    def name(self) -> str:
        """What stands in the name of a test."""
        return f"{self.server}-{self.database}"


# The conversations run on these as on each `Case`.
EMBEDDED, KAMAILIO = Other("rcsops"), Other("Kamailio")
Server = EmbeddedServer | KamailioServer | OpenSipsServer


class Subject(NamedTuple):
    """``release`` is "" for a test that is not on one OpenSIPS; ``server`` is for the reader."""

    server: str
    release: str
    database: str
    feature: str


def subject_of(item: pytest.Item) -> Subject:
    """What this test is about."""
    found = getattr(getattr(item, "callspec", None), "params", {})
    release, database = "", str(found.get("database", found.get("flavour", "")))
    other = ""
    for value in found.values():
        if isinstance(value, Case):
            release, database = value.installation.version, value.database
        elif isinstance(value, Installation):
            release = value.version
        elif isinstance(value, Other):
            other, database = value.server, value.database
    database = _argument(item, "database") or database
    server = f"OpenSIPS {release}" if release else other or _argument(item, "server") or "rcsops"
    module = Path(str(item.path)).stem.removeprefix("test_").removeprefix("opensips_")
    return Subject(
        server=server,
        release=release,
        database={"mysql": "mariadb", "": NONE}.get(database, database),
        feature=_argument(item, "feature") or module.replace("_", " "),
    )


def _argument(item: pytest.Item, marker: str) -> str:
    found = item.get_closest_marker(marker)
    return str(found.args[0]) if found else ""


# --- versions, by their own word ---------------------------------------------------------------

# The command that says the version of a server or a database, and what to take of its answer.
_ASKED = {
    "Chromium": (("chromium", "--version"), r"(Chromium \S+)"),
    "Kamailio": (("kamailio", "-v"), r"(version: kamailio \S+)"),
    "sipp": (("sipp", "-v"), r"(SIPp v\S+\w)"),
    "tshark": (("tshark", "--version"), r"(TShark .*?)\s*\(Git"),
    "mariadb": (("mariadbd", "--version"), r"Ver ([\d.]+)"),
}


def said(server: str) -> str:
    """What the server says of its version, "" when nothing can be asked."""
    for installation in INSTALLATIONS:
        if server == f"OpenSIPS {installation.version}":
            return _first(installation.binary, "-V", wanted=r"(version: opensips .*)")
    if server == f"OpenSIPS, {ALL_RELEASES}":
        return ", ".join(each.version for each in INSTALLATIONS)
    if server == "OpenSIPS, built from source":
        from tests.live.test_install import BUILD

        return ", ".join(BUILD)
    if server == "opensips-cli":
        from tests.live.test_opensips_cli import PACKAGES

        return PACKAGES[0].replace("==", " ")
    if server == "rcsops":
        return f"rcsops {rcsops.__version__}"
    if server in _ASKED:
        (program, *words), wanted = _ASKED[server]
        return _first(shutil.which(program, path=PATH), *words, wanted=wanted)
    return ""


def database_name(kind: str) -> str:
    """The name and version of a kind of database."""
    if kind == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"MariaDB {said(kind)}" if kind == "mariadb" else ""


def _first(program: str | Path | None, *words: str, wanted: str) -> str:
    if program is None:
        return ""
    done = subprocess.run(
        [program, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    match = re.search(wanted, done.stdout + done.stderr)
    return match[1].strip() if match else ""


def untested() -> dict[str, str]:
    """What no test here can reach, with the reason."""
    found = {}
    mysqld = shutil.which("mysqld", path=PATH)
    if mysqld is None or "MariaDB" in _first(mysqld, "--version", wanted="(.+)"):
        found["MySQL with caching_sha2_password"] = "no MySQL server here, only MariaDB"
    else:
        found["MySQL with caching_sha2_password"] = "the tests start MariaDB alone"
    if reason := MariaDbServer.missing():
        found["MariaDB"] = reason
    # It names what it was built with behind its version, as in "v3.6.1-TLS-PCAP".
    if "TLS" not in (built := said("sipp")):
        found["sipp over TLS"] = f"{built or 'no sipp here'}: built without TLS"
    else:
        found["sipp over TLS"] = "the scenarios go by UDP and TCP alone"
    return found
