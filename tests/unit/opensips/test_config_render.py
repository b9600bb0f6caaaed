"""The templates: what they make for each release, and what they refuse."""

import re
from itertools import product
from pathlib import Path

import pytest

from rcsops.errors import SettingsError
from rcsops.opensips.config import (
    MAIN,
    SECRETS,
    ConfigModel,
    Secrets,
    Tls,
    concerns,
    opensips_url,
    render,
    render_cli,
)
from rcsops.opensips.config.lint import blanked
from rcsops.opensips.config.render import PARTS
from rcsops.opensips.releases import RELEASES, minimal_modules

ROOT = Path(__file__).resolve().parents[3]
LINES = [release.line for release in RELEASES]
SECRET = Secrets("mysql://opensips:p%40ss@localhost/opensips", "a" * 32, "route key", "stored key")
EVERYTHING = (
    "udp:192.0.2.1:5060",
    "tcp:192.0.2.1:5060",
    "tls:192.0.2.1:5061",
    "ws:192.0.2.1:80",
    "wss:192.0.2.1:443",
)
TLS = Tls("/etc/own.pem", "/etc/own.key", "/etc/ca.pem")


def code(text: str) -> str:
    """A configuration without its comments."""
    return blanked(text)[0]


def test_the_configuration_in_the_repository_is_the_render_for_3_0() -> None:
    """After a change of a template: rcsops.opensips.config.render(ConfigModel()).text."""
    assert (ROOT / "config.cfg").read_text("utf-8") == render(ConfigModel()).text


def test_the_file_for_opensips_cli_in_the_repository_is_rendered_too() -> None:
    assert (ROOT / "opensips-cli.cfg").read_text("utf-8") == render_cli()


@pytest.mark.parametrize(
    ("line", "driver", "full"), list(product(LINES, ("db_mysql", "db_sqlite"), (False, True)))
)
def test_every_combination(line: tuple[int, int], driver: str, full: bool) -> None:
    more = {"listen": EVERYTHING, "tls": TLS, "mi_http": "127.0.0.1:8888"} if full else {}
    hep = "127.0.0.1:9060" if full else ""
    model = ConfigModel(line=line, driver=driver, hep=hep, **more)  # type: ignore[arg-type]
    files = render(model, SECRET).files
    assert render(model, SECRET).files == files
    text = files[MAIN]
    assert "{{" not in text
    assert "{%" not in text
    assert "\n\n\n" not in text
    assert "$var(route_key)" in text
    for secret in (SECRET.auth_secret, SECRET.route_key, SECRET.stored_key, "p%40ss"):
        assert secret not in text
        assert secret in files[SECRETS]
    lines = [each for each in text.splitlines() if not each.startswith("modparam")]
    assert max(map(len, lines)) <= 100
    # Every block says what it is for, before its first statement.
    for name, _ in PARTS:
        if name == "trace" and not full:
            assert "hep" not in code(text) and "trace(" not in code(text)
            continue
        block = re.search(rf"^# ==== {name} ====.*\n\n(.*)", text, re.MULTILINE)
        assert block, name
        assert block[1].startswith("#"), name
    # What is loaded is what `install` builds for these settings.
    loaded = set(re.findall(r'^loadmodule "(\w+)\.so"', code(text), re.MULTILINE))
    modules = minimal_modules(
        line,
        database_url="sqlite:////x" if driver == "db_sqlite" else "mysql://x/y",
        mi_transport="http" if full else "fifo",
        transports=model.transports,
        hep=full,
    )
    assert loaded == {*modules, "proto_udp", "proto_tcp"}


def test_the_words_of_3_0_and_of_later_releases() -> None:
    old, new = code(render(ConfigModel()).text), code(render(ConfigModel(line=(3, 4))).text)
    for word, other in (
        ("listen=udp:", "socket=udp:"),
        ("log_stderror=yes", "stderror_enabled=yes"),
        ('www_challenge("rcs.example", 1)', 'www_challenge("rcs.example", "auth", "SHA-256,MD5")'),
        ('save("location", "c5f")', 'save("location", "max-contacts=5,force-registration")'),
        ("setbflag(NAT)", 'setbflag("NAT")'),
        ("nat_uac_test(19)", 'nat_uac_test("private-contact,'),
        ("t_relay(0x02)", 't_relay("no-auto-477")'),
    ):
        assert word in old
        assert word not in new
        assert other in new
        assert other not in old


def test_what_was_not_built_is_left_out() -> None:
    text = code(render(ConfigModel(modules=frozenset())).text)
    for word in ("ratelimit", "rl_check", "rl_count", "dialog.so", "create_dialog"):
        assert word not in text


def test_the_concern_of_every_line() -> None:
    text = render(ConfigModel(hep="127.0.0.1:9060")).text
    found = dict(zip(text.splitlines(), concerns(text), strict=True))
    assert found['loadmodule "pike.so"'] == "limits"
    assert found["route[register] {"] == "register"
    assert found["# OpenSIPS 3.0 for one-to-one RCS chat: registrar, location service and proxy of"
                 " the SIP"] == ""  # fmt: skip
    assert set(concerns(text)) == {"", *(name for name, _ in PARTS)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"domain": 'rcs.example"'}, "cannot stand"),
        ({"run_dir": "/run/a\nb"}, "cannot stand"),
        ({"run_dir": "run"}, "not an absolute path"),
        ({"modules_dir": "modules"}, "not an absolute path"),
        ({"listen": ()}, "no address"),
        ({"listen": ("udp:0.0.0.0:5060",)}, "Record-Route"),
        ({"listen": ("tls:192.0.2.1:5061",)}, "no certificate"),
    ],
)
def test_what_cannot_be_rendered(changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        ConfigModel(**changes)  # type: ignore[arg-type]


def test_the_server_finds_itself() -> None:
    model = ConfigModel(listen=("tcp:[2001:db8::1]:5070", "udp:192.0.2.1:5060"))
    assert model.own_uri == "sip:192.0.2.1:5060"
    assert ConfigModel(listen=("tcp:[::1]:5070",)).own_uri == "sip:[::1]:5070;transport=tcp"
    assert model.aliases == (
        "tcp:rcs.example:5070",
        "tcp:rcs.example:5060",
        "udp:rcs.example:5060",
    )


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("mysql://opensips:pw@localhost/opensips", "mysql://opensips:pw@localhost/opensips"),
        ("mysql+mysqldb://a:b@db:3307/x?charset=utf8mb4", "mysql://a:b@db:3307/x"),
        ("mariadb://a@[::1]/x", "mysql://a@[::1]/x"),
        # Percent-encoded there too: what means something in a URL, a string, a preprocessor.
        ("mysql://a:p%40%2F%22%5C:@h/x", "mysql://a:p%40%2F%22%5C%3A@h/x"),
        ("sqlite:////var/lib/a b.db", "sqlite:///var/lib/a b.db"),
    ],
)
def test_database_urls(url: str, written: str) -> None:
    assert opensips_url(url) == written


@pytest.mark.parametrize(
    "url", ["sqlite:///file.db", "mysql://a@localhost/x?unix_socket=/run/mysqld/mysqld.sock"]
)
def test_database_urls_that_opensips_cannot_take(url: str) -> None:
    with pytest.raises(SettingsError):
        opensips_url(url)


def test_opensips_cli_gets_its_database_in_two_parts() -> None:
    text = render_cli(database_url="mysql://a:p%40@h:3307/x")
    # configparser undoes the doubling.
    assert "\ndatabase_url: mysql://a:p%%40@h:3307\ndatabase_name: x\n" in text
    text = render_cli(database_url="sqlite:///var/lib/x.db")
    assert "\ndatabase_url: sqlite:////var/lib/x.db\ndatabase_name: /var/lib/x.db\n" in text
