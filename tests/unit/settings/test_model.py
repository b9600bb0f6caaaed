import pytest

from rcsops.errors import SettingsError
from rcsops.settings import Settings, masked_url, parse_settings, sqlite_file, valid_domain

FULL = """
domain = "Lab.Example"
engine = "opensips"
listen = ["udp:0.0.0.0:5060", "tls:[::1]:5061"]
release = "3.6.8"
prefix = "/opt/opensips"
[database]
url = "mysql://opensips:secret@localhost/opensips"
[mi]
transport = "datagram"
group = "voip"
http = "127.0.0.1:9999"
[digest]
algorithms = ["sha-256"]
min_algorithm = "SHA-256"
[tls]
certificate = "cert.pem"
private_key = "key.pem"
ca = "ca.pem"

[registrar]
min_expires = 30
max_expires = 900

[offline]
messages = 20
expires = 86400

[agent]
server = "sip.lab.example:5061"
transport = "tls"
bind = "::1"
"""


def test_an_empty_file_gives_the_defaults() -> None:
    assert parse_settings("") == Settings()


def test_every_key_is_read() -> None:
    assert parse_settings(FULL) == Settings(
        domain="lab.example",
        engine="opensips",
        listen=("udp:0.0.0.0:5060", "tls:[::1]:5061"),
        release="3.6.8",
        prefix="/opt/opensips",
        database_url="mysql://opensips:secret@localhost/opensips",
        mi_transport="datagram",
        mi_group="voip",
        mi_http="127.0.0.1:9999",
        tls_certificate="cert.pem",
        tls_private_key="key.pem",
        tls_ca="ca.pem",
        digest_algorithms=("SHA-256",),
        digest_min_algorithm="SHA-256",
        registrar_min_expires=30,
        registrar_max_expires=900,
        offline_messages=20,
        offline_expires=86400,
        agent_server="sip.lab.example:5061",
        agent_transport="tls",
        agent_bind="::1",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('dns = "192.0.2.53"', ("192.0.2.53:53",)),
        ('dns = ["192.0.2.53:5353", "2001:db8::53"]', ("192.0.2.53:5353", "[2001:db8::53]:53")),
        ('dns = ["[2001:db8::53]:5353"]', ("[2001:db8::53]:5353",)),
    ],
)
def test_dns_servers_are_addresses(text: str, expected: tuple[str, ...]) -> None:
    assert parse_settings(text).dns == expected


def test_dns_servers_come_from_the_environment_too() -> None:
    settings = parse_settings("", environment={"RCSOPS_DNS": "192.0.2.1,192.0.2.2:54"})
    assert settings.dns == ("192.0.2.1:53", "192.0.2.2:54")


def test_auto_takes_what_the_local_server_has() -> None:
    settings = parse_settings('listen = ["udp:127.0.0.1:5070"]\nagent.transport = "auto"')
    address = settings.local_server()
    assert address is not None
    assert str(address) == "udp:127.0.0.1:5070"


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ('engin = "embedded"', "line 1", "'engine'"),
        ('\n\n[mi]\ntransprot = "fifo"', "line 4", "'transport' in [mi]"),
        ('min_algorithm = "MD5"', "line 1", "'min_algorithm' in [digest]"),
        ('mi.transprt = "fifo"', "line 1", "'transport' in [mi]"),
        ("[databse]\nurl = 'sqlite:///a'", "line 1", "[database]"),
        ("zzz = 1", "line 1", "known keys: domain"),
    ],
)
def test_an_unknown_key_is_named_with_its_line_and_its_neighbour(
    text: str, place: str, hint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text, name="here.toml")
    assert f"here.toml, {place}" in str(caught.value)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        'domain = "not a domain"',
        'domain = "a..b"',
        'domain = "-a.example"',
        "domain = 5",
        f'domain = "{"a" * 60}.example"',
        'engine = "kamailio"',
        'listen = "udp:nowhere"',
        "listen = []",
        "listen = 7",
        'release = "latest"',
        "[database]\nurl = 'postgres://a'",
        "[database]\nurl = 'sqlite://'",
        "[database]\nurl = 'sqlite:///:memory:'",
        "mi = 'fifo'",
        "[mi]\ntransport = 'telnet'",
        "[digest]\nalgorithms = ['SHA-1']",
        "[digest]\nalgorithms = ['MD5']\nmin_algorithm = 'SHA-256'",
        '[agent]\nbind = "a b"',
        'dns = "dns.example"',
        'dns = "192.0.2.1:70000"',
        "dns = []",
        'prefix = "a\\u001bb"',
        "domain = [",
        '[trace]\nhep = "192.0.2.1:9060"',
        '[trace]\nhep = "127.0.0.1:65535"',
        '[trace]\nhep = "127.0.0.1"',
    ],
)
def test_a_wrong_value_is_refused_with_the_files_name(text: str) -> None:
    with pytest.raises(SettingsError, match=r"here\.toml"):
        parse_settings(text, name="here.toml")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            '# made by init\n[agent]\nserver = "a"\n\n[agent]\n',
            "[agent] is there already, in line 2",
        ),
        ("domain = \n", "see https://toml.io"),
    ],
)
def test_the_hint_to_an_error_of_toml(text: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_settings(text)
    assert hint in caught.value.hint


def test_the_line_of_a_wrong_value_is_named() -> None:
    with pytest.raises(SettingsError, match=r"line 3: mi\.transport: 'x' is not one of fifo"):
        parse_settings("domain = 'a.b'\n[mi]\ntransport = 'x'")


def test_the_environment_wins() -> None:
    settings = parse_settings(
        'engine = "embedded"\ndomain = "a.example"',
        environment={
            "RCSOPS_ENGINE": "opensips",
            "RCSOPS_LISTEN": "udp:127.0.0.1:5070, tcp:127.0.0.1:5071",
            "RCSOPS_DIGEST_MIN_ALGORITHM": "SHA-256",
            "RCSOPS_RELEASE": "",
            "RCSOPS_DEBUG": "1",
        },
    )
    assert settings.engine == "opensips"
    assert settings.domain == "a.example"
    assert settings.listen == ("udp:127.0.0.1:5070", "tcp:127.0.0.1:5071")
    assert settings.digest_min_algorithm == "SHA-256"
    assert settings.release == "3.0.2"


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="RCSOPS_DATABASE_URL in the environment"):
        parse_settings("", environment={"RCSOPS_DATABASE_URL": "oracle://x"})


def test_a_domain_outside_ascii_is_refused_with_its_ascii_form() -> None:
    with pytest.raises(ValueError, match="xn--mnchen-3ya"):
        valid_domain("münchen.example")
    assert valid_domain("RCS.Example.") == "rcs.example"


def test_the_local_server_is_found_by_transport() -> None:
    settings = parse_settings('listen = ["udp:0.0.0.0:5060", "tcp:127.0.0.1:5070"]')
    found = settings.local_server()
    assert found is not None
    assert str(found) == "tcp:127.0.0.1:5070"
    assert str(settings.local_server("udp")) == "udp:127.0.0.1:5060"
    assert settings.local_server("tls") is None


def test_urls_are_shown_without_their_password() -> None:
    assert masked_url("mysql://root:p/w:x@host/db") == "mysql://root:***@host/db"
    assert masked_url("mysql://root@host/db") == "mysql://root@host/db"
    assert masked_url("sqlite:///a@b:c@d") == "sqlite:///a@b:c@d"


@pytest.mark.parametrize("scheme", ["mysql", "mariadb+mysqldb"])
def test_an_opensips_cannot_be_told_of_a_socket(scheme: str) -> None:
    text = f"[database]\nurl = '{scheme}://a:b%3F@localhost/x?charset=y&unix_socket=/run/x.sock'"
    with pytest.raises(
        SettingsError, match=r"here\.toml: database\.url names a unix_socket"
    ) as told:
        parse_settings(f'engine = "opensips"\n{text}', name="here.toml")
    assert "127.0.0.1:PORT" in told.value.hint
    with pytest.raises(SettingsError, match="unix_socket"):
        parse_settings(text, environment={"RCSOPS_ENGINE": "opensips"})
    # The embedded server can, and a file may well be called so.
    assert "unix_socket" in parse_settings(text).database_url
    parse_settings('engine = "opensips"\n[database]\nurl = "sqlite:////a?unix_socket=b"')


def test_the_file_of_a_url() -> None:
    assert str(sqlite_file("sqlite:////var/lib/a b.db")) == "/var/lib/a b.db"
    assert str(sqlite_file("sqlite:///lab.db")) == "lab.db"
    assert sqlite_file("mysql://host/db") is None


@pytest.mark.parametrize("address", ["0.0.0.0:8888", "192.0.2.1:8888", "host:1", "8888", ""])
def test_mi_over_http_is_for_this_machine_alone(address: str) -> None:
    with pytest.raises(SettingsError, match="loopback"):
        parse_settings(f"[mi]\nhttp = '{address}'")
