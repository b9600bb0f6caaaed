"""The files for a real OpenSIPS agree with each other, and hold no secret."""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def config() -> str:
    lines = (ROOT / "config.cfg").read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def test_the_list_of_modules_is_what_the_configuration_loads() -> None:
    loaded = set(re.findall(r'^loadmodule "(\w+)\.so"', config(), re.MULTILINE))
    listed = {
        line
        for line in (ROOT / "opensips-3.0.2/modules.txt").read_text("utf-8").split("\n")
        if line and not line.startswith("#")
    }
    # Both are part of the core; db_sqlite is for those who do without MySQL.
    assert listed == loaded - {"proto_udp", "proto_tcp"} | {"db_sqlite"}


def test_secrets_come_from_another_file() -> None:
    assert re.search(r'^include_file ".*/secrets.cfg"$', config(), re.MULTILINE)
    assert "mysql://" not in config()
    assert '"secret"' not in config()


def test_opensips_cli_is_given_no_password() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "opensips-cli.cfg")
    assert "fifo_file" in settings["default"]
    assert "database_url" not in settings["default"]
