from pathlib import Path

import pytest

from rcsops.errors import UsageError
from rcsops.opensips.needs import BUILD_TOOLS, build_needs
from rcsops.opensips.releases import (
    DEFAULT,
    MINIMAL_MODULES,
    RECOMMENDED,
    RELEASES,
    Release,
    minimal_modules,
    release_line,
    resolve_release,
    version_key,
)

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.0.2", "3.0.2"), ("3.0", "3.0.2"), ("3.4", "3.4.18"), ("3.6", "3.6.8"), ("4.0", "4.0.1")],
)
def test_names_of_releases(text: str, version: str) -> None:
    assert resolve_release(text).version == version


@pytest.mark.parametrize("text", ["", "3", "3.1", "3.6.9", "opensips", "3.60"])
def test_others_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_release(text)
    assert "3.0.2, 3.4.18, 3.6.8, 4.0.1" in refused.value.hint


def test_the_newest_of_a_line_is_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    releases = (Release("3.4.9"), Release("3.4.18"), Release("3.4.2"))
    monkeypatch.setattr("rcsops.opensips.releases.RELEASES", releases)
    assert resolve_release("3.4").version == "3.4.18"
    assert version_key("3.4.18-dev") == (3, 4, 18)


def test_every_release_can_be_fetched_and_checked() -> None:
    assert resolve_release(DEFAULT).ended
    assert resolve_release(RECOMMENDED).lts
    for release in RELEASES:
        assert release.known
        assert len(release.commit) == len(release.tree) == len(release.archive_tree) == 40
        assert release.url.endswith(f"/{release.tag}.tar.gz")
        assert release.line == release_line(release.version)


def test_old_sources_and_new_compilers() -> None:
    assert resolve_release("3.0.2").compiler_options == ("-fcommon",)
    assert resolve_release("3.4").compiler_options == ()


@pytest.mark.parametrize("text", ["3", "3.x", "x3.0", ""])
def test_what_has_no_line(text: str) -> None:
    with pytest.raises(UsageError):
        release_line(text)


def test_the_minimal_set_follows_the_settings() -> None:
    plain = minimal_modules((3, 6), database_url="mysql://a@b/c")
    assert {*plain} == {*MINIMAL_MODULES, "db_mysql"}
    assert list(plain) == sorted(plain)
    # Nobody has chosen yet.
    assert {*minimal_modules((3, 6))} == {*MINIMAL_MODULES, "db_mysql", "db_sqlite"}
    assert "db_sqlite" in minimal_modules((3, 0), database_url="sqlite:////x.db")
    assert {"httpd", "mi_http"} <= {*minimal_modules((3, 0), mi_transport="http")}
    secure = {*minimal_modules((3, 0), transports=("udp", "tls", "ws", "wss"))}
    assert {"proto_tls", "proto_ws", "proto_wss", "tls_mgm"} <= secure
    assert "tls_openssl" not in secure
    assert "tls_openssl" in minimal_modules((3, 4), transports=("wss",))
    assert "tls_mgm" not in minimal_modules((3, 4), transports=("ws",))


def packages(modules: tuple[str, ...], line: tuple[int, int]) -> set[str]:
    return {need.package for need in build_needs(modules, line)}


def test_packages_are_those_that_the_modules_need() -> None:
    tools = {need.package for need in BUILD_TOOLS}
    assert packages(("tm", "usrloc"), (3, 0)) == tools
    assert packages(("db_mysql", "db_sqlite"), (3, 0)) - tools == {
        "default-libmysqlclient-dev",
        "libsqlite3-dev",
    }
    # SHA-256 comes from its library, which 3.0 did not use.
    assert packages(("auth",), (3, 0)) == tools
    assert packages(("auth",), (3, 6)) - tools == {"libssl-dev"}
    assert packages(("regex",), (3, 0)) - tools == {"libpcre3-dev"}
    assert packages(("regex",), (3, 4)) - tools == {"libpcre2-dev"}


def test_the_list_beside_the_default_release_is_what_is_built() -> None:
    text = (ROOT / f"opensips-{DEFAULT}" / "modules.txt").read_text("utf-8")
    listed = [line for line in text.splitlines() if not line.startswith("#")]
    assert listed == list(minimal_modules(resolve_release(DEFAULT).line))


def test_the_page_beside_it_names_the_release() -> None:
    release = resolve_release(DEFAULT)
    page = (ROOT / f"opensips-{DEFAULT}" / "README.md").read_text("utf-8")
    for fact in (release.tag, release.commit, release.tree, "2021", "rcsops install --release 3.6"):
        assert fact in page
