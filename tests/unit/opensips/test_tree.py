import os
import subprocess
from pathlib import Path

import pytest

from rcsops.opensips import tree
from rcsops.opensips.releases import RELEASES


def git_tree(directory: Path) -> str:
    def git(*words: str) -> str:
        command = ["git", "-C", str(directory), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    git("add", "-A", "-f")
    return git("write-tree")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Every kind of entry, and names that sort differently as files and as directories."""
    for name in ("a", "a.b", "a-b/c", "a0", "lib/x.c", "lib.c", "lib/.hidden", "ü/täst", "run"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(20) if name == "a0" else name.encode())
    (tmp_path / "run").chmod(0o755)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("lib/x.c")
    (tmp_path / "linked").symlink_to("lib")
    return tmp_path


def test_the_id_is_gits(directory: Path) -> None:
    entries = tree.entries_of(directory, tree.files_below(directory))
    assert tree.tree_id(entries) == git_tree(directory)
    assert tree.tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    # What git has made since is no part of it.
    assert tree.entries_of(directory, tree.files_below(directory)) == entries


def test_differences_are_named(directory: Path) -> None:
    before = tree.entries_of(directory, tree.files_below(directory))
    wanted = tree.parse_manifest(tree.format_manifest(before))
    assert not tree.differences(before, wanted)
    (directory / "a").write_text("other")
    (directory / "run").chmod(0o644)
    (directory / "lib/x.c").unlink()
    (directory / "extra").touch()
    found = tree.differences(tree.entries_of(directory, wanted), wanted)
    assert found.changed == ("a", "run")
    assert found.missing == ("lib/x.c",)
    assert found.text() == "changed: a, run; missing: lib/x.c"


def test_only_the_first_few_are_shown() -> None:
    found = tree.Differences(tuple(f"f{number}" for number in range(9)), ())
    assert found.text(3) == "changed: f0, f1, f2 and 6 more"


def test_a_directory_where_a_file_should_be_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("")
    assert tree.entries_of(tmp_path, ["a", "b/c", "none"]) == {}


@pytest.mark.parametrize("release", RELEASES, ids=lambda each: each.version)
def test_every_known_release_has_its_list(release: tree.NamedTuple) -> None:
    listed = tree.manifest(release.version)
    assert listed is not None
    for path in ("Makefile", "Makefile.defs", "main.c", "modules/usrloc/Makefile"):
        assert listed[path].mode in ("100644", "100755")
    assert all(len(entry.blob) == tree.SHORT_ID for entry in listed.values())
    assert not any(path.startswith(("/", "../")) or "/../" in path for path in listed)


def test_there_is_no_list_of_another() -> None:
    assert tree.manifest("9.9.9") is None
