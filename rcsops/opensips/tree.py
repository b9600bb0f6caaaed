"""Git's id of a directory of source, and how it differs from the release that it should be.

The id is git's own (SHA-1 over modes, names and contents), computed here, so that a source can be
checked whatever it came as and where no git is installed. The list of a release's files, needed to
say which one differs and to leave out what is not part of it, is in ``trees/VERSION.txt.gz``:
mode, the first digits of the blob's id, path. The list proves nothing; the tree id does.
"""

import gzip
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from rcsops.errors import EngineError

# As many digits of a blob's id as the lists hold.
SHORT_ID = 8

_FILE, _PROGRAM, _LINK, _TREE = "100644", "100755", "120000", "40000"


class Entry(NamedTuple):
    """A file as git sees it: ``blob`` is the id of its contents, in a list its first digits."""

    mode: str
    blob: str


Manifest = Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Differences:
    """Paths that are not as the release has them, in order."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.missing)

    def text(self, limit: int = 5) -> str:
        """The first few, for a person: ``changed: a.c, b.c; missing: c.c and 7 more``."""
        parts = []
        for name, paths in (("changed", self.changed), ("missing", self.missing)):
            if paths:
                more = f" and {len(paths) - limit} more" if len(paths) > limit else ""
                parts.append(f"{name}: {', '.join(paths[:limit])}{more}")
        return "; ".join(parts)


def blob_id(path: Path) -> Entry:
    """Mode and blob id of a file or symbolic link; raises `OSError`."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        data = os.fsencode(os.readlink(path))
        return Entry(_LINK, _object_id("blob", data))
    mode = _PROGRAM if status.st_mode & 0o100 else _FILE
    return Entry(mode, _object_id("blob", path.read_bytes()))


def tree_id(entries: Manifest) -> str:
    """The id of the tree of these files, by path with ``/``; directories follow from the paths."""
    return _tree(entries, sorted(entries), "")


def _tree(entries: Manifest, paths: list[str], prefix: str) -> str:
    children: dict[str, list[str]] = {}
    for path in paths:
        children.setdefault(path[len(prefix) :].partition("/")[0], []).append(path)
    rows: list[tuple[bytes, bytes]] = []
    for name, inner in children.items():
        raw = os.fsencode(name)
        if inner == [prefix + name]:
            mode, blob = entries[prefix + name]
            rows.append((raw, mode.encode() + b" " + raw + b"\0" + bytes.fromhex(blob)))
        else:
            child = bytes.fromhex(_tree(entries, inner, f"{prefix}{name}/"))
            # Git sorts a directory as if its name ended with a slash.
            rows.append((raw + b"/", _TREE.encode() + b" " + raw + b"\0" + child))
    return _object_id("tree", b"".join(row for _, row in sorted(rows)))


def _object_id(kind: str, data: bytes) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(f"{kind} {len(data)}\0".encode())
    digest.update(data)
    return digest.hexdigest()


def files_below(root: Path) -> Iterator[str]:
    """The paths of all files and links below ``root``, but those of a ``.git``."""
    for directory, directories, names in os.walk(root):
        where = Path(directory)
        linked = [name for name in directories if (where / name).is_symlink()]
        directories[:] = [each for each in directories if each != ".git" and each not in linked]
        for name in (*names, *linked):
            if name != ".git":
                yield (where / name).relative_to(root).as_posix()


def entries_of(root: Path, paths: Iterable[str]) -> dict[str, Entry]:
    """Mode and blob of each of ``paths`` that is there; sockets and the like count as missing."""
    found: dict[str, Entry] = {}
    for path in paths:
        try:
            status = (root / path).lstat()
            if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                found[path] = blob_id(root / path)
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            continue
        except OSError as error:
            raise EngineError(f"cannot read {root / path}: {error.strerror}") from error
    return found


def differences(found: Manifest, wanted: Manifest) -> Differences:
    """What of ``wanted`` is missing in ``found`` or has another mode or contents there."""
    changed = tuple(
        path
        for path in sorted(wanted)
        if path in found
        and (
            found[path].mode != wanted[path].mode
            or not found[path].blob.startswith(wanted[path].blob)
        )
    )
    return Differences(changed, tuple(path for path in sorted(wanted) if path not in found))


def manifest(version: str) -> Manifest | None:
    """The files of a known release, None when its list is not part of rcsops."""
    packed = resources.files("rcsops.opensips") / "trees" / f"{version}.txt.gz"
    return parse_manifest(gzip.decompress(packed.read_bytes())) if packed.is_file() else None


def parse_manifest(data: bytes) -> Manifest:
    """``MODE ID PATH`` lines."""
    entries: dict[str, Entry] = {}
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        mode, blob, path = line.split(" ", 2)
        entries[path] = Entry(mode, blob)
    return entries


def format_manifest(entries: Manifest) -> bytes:
    """The reverse of `parse_manifest`, with ids cut to `SHORT_ID` digits."""
    lines = (f"{mode} {blob[:SHORT_ID]} {path}\n" for path, (mode, blob) in sorted(entries.items()))
    return "".join(lines).encode("utf-8", "surrogateescape")
