import http.server
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rcsops.errors import EngineError, UsageError
from rcsops.opensips import needs, releases, tree
from rcsops.opensips.releases import Release, resolve_release
from rcsops.opensips.source import Kind, Origin, check, obtain, origin_of, version_of
from rcsops.testing import tiny
from rcsops.testing.tiny import VERSION, TinySource

TEMPLATE = Path(__file__).resolve().parents[2] / "data" / "opensips-tiny"


def git(directory: Path, *words: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example", "-c", "gc.auto=0")
    command = ["git", *identity, "-C", str(directory), *words]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The release's source, known to this process while the test runs."""
    monkeypatch.setattr(releases, "RELEASES", releases.RELEASES)
    monkeypatch.setattr(tree, "manifest", tree.manifest)
    monkeypatch.setattr(needs, "BUILD_NEEDS", dict(needs.BUILD_NEEDS))
    made = TinySource(TEMPLATE, tmp_path / "tiny")
    tiny.register(Path(made.environment["RCSOPS_TEST_TINY"]))
    return made.directory


@pytest.fixture
def release(source: Path) -> Release:
    return resolve_release(VERSION)


@pytest.fixture
def repository(source: Path) -> Path:
    """The source as a checkout with its tag."""
    git(source, "init", "-q", "-b", "master")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "release")
    git(source, "tag", VERSION)
    return source


@pytest.fixture
def tarball(source: Path) -> Path:
    path = source.with_name(f"opensips-{VERSION}.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(source, arcname=f"opensips-{VERSION}")
    return path


def take(origin: Origin, release: Release, tmp_path: Path, *, modified: bool = False) -> Path:
    target = tmp_path / "project" / "src"
    checked = obtain(
        origin,
        release,
        target,
        downloads=tmp_path / "downloads",
        allow_modified=modified,
        first_pause=0.01,
    )
    assert checked.verified is not modified
    assert [each.name for each in target.parent.iterdir()] == ["src"]
    return target


def assert_whole(target: Path, release: Release) -> None:
    entries = tree.entries_of(target, tree.files_below(target))
    assert tree.tree_id(entries) == release.archive_tree


def test_what_from_names(tmp_path: Path, repository: Path, tarball: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    for text, kind in {
        "plain": Kind.DIRECTORY,
        str(repository): Kind.CHECKOUT,
        str(repository / ".git"): Kind.GIT,
        "bare.git": Kind.GIT,
        str(tarball): Kind.TARBALL,
        "https://host.example/a/opensips-3.0.2.tar.gz?x=1": Kind.URL,
        "https://host.example/OpenSIPS/opensips": Kind.GIT,
        "https://host.example/opensips.git": Kind.GIT,
        "ssh://git@host.example/opensips": Kind.GIT,
        "git@host.example:OpenSIPS/opensips.git": Kind.GIT,
    }.items():
        assert origin_of(text, tmp_path).kind is kind, text
    for text in ("nowhere", "--upload-pack=x", "ftp://host.example/a.tar.gz", "ext::sh -c id"):
        with pytest.raises(UsageError):
            origin_of(text, tmp_path)


def test_versions_are_read_before_it_is_unpacked(
    tmp_path: Path, repository: Path, tarball: Path
) -> None:
    assert version_of(Origin(Kind.CHECKOUT, str(repository))) == VERSION
    assert version_of(Origin(Kind.TARBALL, str(tarball))) == VERSION
    assert (
        version_of(Origin(Kind.URL, "https://h.example/3.0.2/opensips-3.4.18.tar.gz")) == "3.4.18"
    )
    assert version_of(Origin(Kind.DIRECTORY, str(tmp_path))) == ""
    assert version_of(Origin(Kind.GIT, "https://host.example/x")) == ""


def test_a_directory(source: Path, release: Release, tmp_path: Path) -> None:
    (source / "mine.c").touch()
    (source / "modules" / "tm" / "tm.o").touch()
    assert_whole(take(Origin(Kind.DIRECTORY, str(source)), release, tmp_path), release)


def test_a_checkout_gives_its_tracked_files(
    repository: Path, release: Release, tmp_path: Path
) -> None:
    (repository / "mine.c").touch()
    origin = Origin(Kind.CHECKOUT, str(repository))
    assert_whole(take(origin, release, tmp_path), release)
    (repository / "tracked.c").touch()
    git(repository, "add", "tracked.c")
    taken = take(origin, release, tmp_path / "other")
    assert not (taken / "tracked.c").exists()
    (repository / "main.c").write_text("changed")
    taken = take(origin, release, tmp_path / "third", modified=True)
    assert (taken / "main.c").read_text() == "changed"
    assert (taken / "tracked.c").exists()
    assert not (taken / "mine.c").exists()


def test_a_repository_gives_the_tag(repository: Path, release: Release, tmp_path: Path) -> None:
    (repository / "main.c").write_text("later\n")
    git(repository, "commit", "-q", "-a", "-m", "later")
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(bare))
    for number, place in enumerate((repository / ".git", bare, f"file://{bare}")):
        origin = Origin(Kind.GIT, str(place))
        assert_whole(take(origin, release, tmp_path / str(number)), release)


def test_a_repository_without_the_tag(repository: Path, release: Release, tmp_path: Path) -> None:
    git(repository, "tag", "-d", VERSION)
    with pytest.raises(EngineError, match=f"has no tag {VERSION}"):
        take(Origin(Kind.GIT, str(repository / ".git")), release, tmp_path)
    with pytest.raises(EngineError, match="git: "):
        take(Origin(Kind.GIT, f"file://{tmp_path}/nothing.git"), release, tmp_path)
    assert not (tmp_path / "project" / "src").exists()


def test_a_tarball(tarball: Path, release: Release, tmp_path: Path) -> None:
    assert_whole(take(Origin(Kind.TARBALL, str(tarball)), release, tmp_path), release)


@pytest.fixture
def web(tarball: Path) -> Iterator[tuple[str, list[str]]]:
    """The directory of the tarball over HTTP; the first answer breaks in the middle."""
    asked: list[str] = []
    content = tarball.read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            asked.append(self.headers.get("Range", ""))
            self.send_response(206 if start else 200)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                size = len(content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            self.wfile.write(content[start:] if start else content[: len(content) // 2])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{tarball.name}", asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_address_that_breaks_in_the_middle(
    web: tuple[str, list[str]], release: Release, tmp_path: Path
) -> None:
    url, asked = web
    origin = Origin(Kind.URL, url)
    assert_whole(take(origin, release, tmp_path), release)
    assert len(asked) == 2
    # What has been fetched is not fetched again.
    shutil.rmtree(tmp_path / "project")
    assert_whole(take(origin, release, tmp_path), release)
    assert len(asked) == 2


def test_a_broken_archive_is_not_kept(
    web: tuple[str, list[str]], release: Release, tmp_path: Path
) -> None:
    url, _ = web
    kept = tmp_path / "downloads" / f"opensips-{VERSION}.tar.gz"
    kept.parent.mkdir()
    kept.write_bytes(b"not an archive")
    with pytest.raises(EngineError, match="not a whole tar archive"):
        take(Origin(Kind.URL, url), release, tmp_path)
    assert_whole(take(Origin(Kind.URL, url), release, tmp_path), release)


def test_a_source_of_something_else(source: Path, release: Release, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is not the source of an OpenSIPS"):
        take(Origin(Kind.DIRECTORY, str(tmp_path)), release, tmp_path)
    with pytest.raises(EngineError, match=f"is OpenSIPS {VERSION}, not 3.6.8"):
        take(Origin(Kind.DIRECTORY, str(source)), resolve_release("3.6.8"), tmp_path)


def test_a_release_that_cannot_be_checked(source: Path, tmp_path: Path) -> None:
    unknown = Release(VERSION)
    origin = Origin(Kind.DIRECTORY, str(source))
    with pytest.raises(EngineError, match="not a release that rcsops can check") as refused:
        check(source, unknown, tree.files_below(source), origin)
    assert "--allow-modified" in refused.value.hint
    taken = take(origin, unknown, tmp_path, modified=True)
    assert (taken / "main.c").exists()


def test_what_was_compiled_stays_when_nothing_has_changed(
    source: Path, release: Release, tmp_path: Path
) -> None:
    origin = Origin(Kind.DIRECTORY, str(source))
    target = take(origin, release, tmp_path)
    (target / "main.o").write_text("compiled")
    take(origin, release, tmp_path)
    assert (target / "main.o").exists()
    (source / "main.c").write_text("changed")
    take(origin, release, tmp_path, modified=True)
    assert not (target / "main.o").exists()
