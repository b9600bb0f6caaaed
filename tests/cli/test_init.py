from pathlib import Path

import pexpect
import pytest

from rcsops.settings import Settings, parse_settings
from tests.cli.conftest import Shell


@pytest.fixture
def config(rcsops: Shell) -> Path:
    return rcsops.directory / "rcsops.toml"


def test_it_writes_every_setting_with_its_default(rcsops: Shell, config: Path) -> None:
    done = rcsops.ok("init", "--yes")
    assert done.lines[0].startswith("wrote ")
    assert done.lines[1] == "next: rcsops db create, rcsops user add bob, rcsops chat bob"
    text = config.read_text()
    assert parse_settings(text) == Settings()
    # With the comment signs gone, each key is what the defaults are.
    keys = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
        if 'url = "' not in line and not line.startswith('# server = ""')
    )
    assert parse_settings(keys) == Settings()


def test_doing_it_twice_changes_nothing(rcsops: Shell, config: Path) -> None:
    rcsops.ok("init", "--yes", "--domain", "lab.example")
    config.write_text(config.read_text() + "# my own line\n")
    before = config.read_text()
    for words in (["--yes"], [], ["--yes", "--domain", "lab.example"]):
        assert "nothing was changed" in rcsops.ok("init", *words).out
        assert config.read_text() == before


def test_it_changes_what_is_asked_and_nothing_else(rcsops: Shell, config: Path) -> None:
    config.write_text(
        "# mine\ndomain   = 'old.example' # why\n\n[agent]\ntransport='udp'   # slow\n"
    )
    listen = "udp:127.0.0.1:5070"
    refused = rcsops("init", "--domain", "new.example")
    assert refused.code == 2
    assert "old.example" in config.read_text()
    rcsops.ok("init", "--yes", "--domain", "New.Example", "--listen", listen)
    text = config.read_text()
    assert "# mine\n" in text
    assert "# why\n" in text
    assert "transport='udp'   # slow\n" in text
    settings = parse_settings(text)
    assert settings.domain == "new.example"
    assert settings.listen == (listen,)
    assert settings.agent_transport == "udp"
    assert not list(rcsops.directory.glob(".rcsops.toml*"))


def test_the_domain_stays_while_there_are_users(rcsops: Shell, config: Path) -> None:
    rcsops.ok("init", "--yes")
    rcsops.ok("db", "create")
    rcsops.ok("init", "--yes", "--domain", "second.example")
    rcsops.ok("user", "add", "bob", "--generate")
    before = config.read_text()
    done = rcsops("init", "--yes", "--domain", "third.example")
    assert done.code == 1
    assert "there is 1 user of second.example" in done.err
    assert "hint: remove the users first" in done.err
    assert config.read_text() == before
    rcsops.ok("user", "remove", "bob", "--yes")
    rcsops.ok("init", "--yes", "--domain", "third.example")


def test_it_asks_on_a_terminal(rcsops: Shell, config: Path) -> None:
    terminal = rcsops.terminal("init")
    terminal.expect("SIP domain of the accounts")
    terminal.sendline("chat.example")
    terminal.expect("The server listens at")
    terminal.sendline("udp:127.0.0.1:5070, tcp:127.0.0.1:5070")
    terminal.expect("wrote")
    terminal.expect(pexpect.EOF)
    settings = parse_settings(config.read_text())
    assert settings.domain == "chat.example"
    assert settings.listen == ("udp:127.0.0.1:5070", "tcp:127.0.0.1:5070")
    terminal = rcsops.terminal("init", "--domain", "other.example")
    terminal.expect("Change domain from chat.example to other.example")
    terminal.sendline("n")
    terminal.expect("Nothing was changed")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 1
    assert parse_settings(config.read_text()).domain == "chat.example"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--domain", "not a domain"], "the domain: 'not a domain' is not a domain name"),
        (["--domain", "zażółć.example"], "its ASCII form is 'xn--"),
        (["--domain", 'a"\nengine="x'], "the domain: must not hold control characters"),
        (["--listen", "udp:nowhere"], "the address: 'udp:nowhere' is not an address"),
    ],
)
def test_wrong_values_write_nothing(
    rcsops: Shell, config: Path, words: list[str], said: str
) -> None:
    done = rcsops("init", "--yes", *words)
    assert done.code == 1
    assert said in done.err
    assert not config.exists()


@pytest.mark.parametrize("option", ["--domain", "--listen"])
def test_an_option_without_a_value_is_no_default(rcsops: Shell, config: Path, option: str) -> None:
    done = rcsops("init", "--yes", option, "")
    assert done.code == 2
    assert f"error: {option} has no value" in done.err
    assert not config.exists()


def test_a_directory_is_made(rcsops: Shell) -> None:
    done = rcsops.ok("init", "--yes", "--json", "--directory", "new/lab").json
    assert done["created"] is True
    assert done["settings"]["domain"] == "rcs.example"
    assert (rcsops.directory / "new" / "lab" / "rcsops.toml").exists()


def test_a_directory_that_cannot_be_made_is_an_error(rcsops: Shell) -> None:
    (rcsops.directory / "file").touch()
    done = rcsops("init", "--yes", "--directory", "file/lab")
    assert done.code == 1
    assert "cannot make file/lab" in done.err
