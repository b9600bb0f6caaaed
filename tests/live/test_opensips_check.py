"""`rcsops config render` and `check` with every OpenSIPS of the machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from rcsops.errors import EngineError
from rcsops.opensips.config import ConfigModel, Secrets, Tls, render
from rcsops.opensips.config.check import check
from rcsops.opensips.config.lint import lint
from rcsops.opensips.config.problem import Problem
from rcsops.opensips.installed import Installation
from rcsops.operations import config as operations
from rcsops.operations import db
from rcsops.settings import Project
from rcsops.testing.opensips import OpenSipsServer

pytestmark = pytest.mark.feature("configuration")

LISTEN = ("udp:127.0.0.1:5060", "tcp:[::1]:5060")
SECURE = (*LISTEN, "tls:127.0.0.1:5061", "ws:127.0.0.1:5080", "wss:127.0.0.1:5443")


def written(directory: Path, model: ConfigModel) -> Path:
    secrets = Secrets("mysql://a:b@127.0.0.1/c", "a" * 32, "b", "c")
    for name, text in render(model, secrets).files.items():
        (directory / name).write_text(text)
    return directory / "opensips.cfg"


def model_for(installation: Installation, directory: Path) -> ConfigModel:
    return ConfigModel(
        line=installation.line,
        listen=LISTEN,
        config_dir=str(directory),
        run_dir=str(directory),
        modules_dir=str(installation.modules_dir),
        modules=frozenset(installation.modules),
    )


def test_every_variant_is_a_configuration_to_opensips(
    installation: Installation, tmp_path: Path
) -> None:
    plain = model_for(installation, tmp_path)
    variants: list[tuple[set[str], ConfigModel]] = [
        ({"db_mysql"}, plain),
        ({"db_sqlite"}, replace(plain, driver="db_sqlite")),
        ({"db_sqlite"}, replace(plain, driver="db_sqlite", modules=frozenset(), mi_group="root")),
        ({"db_sqlite"}, replace(plain, driver="db_sqlite", listen=("udp:127.0.0.1:5060",))),
        ({"db_sqlite"}, replace(plain, driver="db_sqlite", listen=("tcp:127.0.0.1:5060",))),
        (
            {"db_sqlite", "httpd", "mi_http"},
            replace(plain, driver="db_sqlite", mi_http="127.0.0.1:8888"),
        ),
        (
            {"db_sqlite", "tls_mgm", "proto_tls", "proto_ws", "proto_wss"},
            replace(plain, driver="db_sqlite", listen=SECURE, tls=Tls("/a.pem", "/b.pem", "/c")),
        ),
    ]
    tried = 0
    for needed, model in variants:
        if needed <= set(installation.modules):
            tried += 1
            # Not even a warning: nothing here is about to be removed.
            assert check(installation, written(tmp_path, model)) == []
    assert tried >= 2


def mistakes(installation: Installation, tmp_path: Path, old: str, new: str) -> list[Problem]:
    path = written(tmp_path, replace(model_for(installation, tmp_path), driver="db_sqlite"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return check(installation, path)


@pytest.mark.parametrize(
    ("old", "new", "marked", "concern", "said"),
    [
        ('"fr_timeout"', '"fr_tineout"', "fr_tineout", "transactions", "fr_tineout"),
        ('"nonce_expire", 60', '"nonce_expire", "x"', "nonce_expire", "digest", "wrong type"),
        ('"pike.so"', '"pikee.so"', "pikee", "limits", "failed to load module pikee.so"),
        ("has_totag()", "has_totagg()", "has_totagg", "requests", "unknown command"),
        (
            'send_reply(483, "Too Many Hops")',
            "send_reply(483)",
            "send_reply",
            "requests",
            "too few",
        ),
        ("udp_workers=", "udp_wokers=", "udp_wokers=", "core", "syntax error"),
    ],
)
def test_a_mistake_is_pointed_at(
    installation: Installation,
    tmp_path: Path,
    old: str,
    new: str,
    marked: str,
    concern: str,
    said: str,
) -> None:
    (problem,) = mistakes(installation, tmp_path, old, new)
    assert said in problem.text
    assert problem.concern == concern
    assert problem.source_line[problem.column - 1 : problem.end] == marked
    assert problem.caret.strip() == "^" + "~" * (len(marked) - 1)


def test_a_mistake_in_the_included_file(installation: Installation, tmp_path: Path) -> None:
    path = written(tmp_path, replace(model_for(installation, tmp_path), driver="db_sqlite"))
    secrets = tmp_path / "secrets.cfg"
    secrets.write_text(secrets.read_text().replace("db_default_url", "db_default_urn"))
    (problem,) = check(installation, path)
    assert problem.file == str(secrets)
    assert "db_default_urn" in problem.source_line


def test_what_opensips_does_not_see_keeps_it_from_starting(
    installation: Installation, short_path: Path
) -> None:
    """The mistakes that rcsops looks for itself: -C is content, and the server does not start."""
    server = OpenSipsServer(installation, short_path)
    server.prepare()
    text = server.config.read_text()
    server.config.write_text(text.replace("\troute(identity);", "\troute(identty);"))
    assert check(installation, server.config) == []
    with pytest.raises(EngineError, match="did not start"):
        server.start()
    assert [each.text for each in lint(server.config) if not each.warning] == [
        "route[identty] is called, but is not defined"
    ]


def test_a_project_from_its_settings_to_a_server(
    installation: Installation, short_path: Path
) -> None:
    (short_path / "rcsops.toml").write_text(
        f'engine = "opensips"\nprefix = "{installation.prefix}"\n'
        f'release = "{installation.version}"\n'
        'listen = ["udp:127.0.0.1:15060"]\n[database]\nurl = "sqlite:///test.db"\n'
    )
    project = Project.find(short_path)
    planned = operations.plan(project)
    assert planned.release == installation.version
    operations.write(project, planned)
    checked = operations.check(project)
    assert not checked.ok
    assert "no database" in checked.problems[0].text
    db.create(project)
    checked = operations.check(project)
    assert checked.version == installation.version
    assert checked.problems == ()
    # What a person changed stays, and is what the server would be started with.
    path = operations.ready(project)
    path.write_text(path.read_text() + "# mine\n")
    assert operations.ready(project) == path
    assert path.read_text().endswith("# mine\n")
    assert operations.check(project).problems == ()
