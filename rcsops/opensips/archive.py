"""Unpacking a tar archive from anywhere: nothing is written outside the directory it goes to."""

import os
import tarfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from rcsops.errors import EngineError

# The largest release unpacks to 60 MB in 3,700 files.
MAX_OCTETS = 2_000_000_000
MAX_MEMBERS = 200_000
_BLOCK = 1 << 20


def unpack(archive: Path | IO[bytes], target: Path, *, name: str = "") -> None:
    """Unpacks a tar archive (any compression that Python knows) into the directory ``target``.

    Only files, directories and symbolic links that stay inside; owners are ignored, modes become
    0644 or 0755, times are kept. Raises `EngineError` for anything else, for a broken archive and
    for one that is absurdly large.
    """
    shown = name or str(archive)
    links: list[tuple[str, str]] = []
    octets = 0
    try:
        with _opened(archive) as tar:
            for count, member in enumerate(tar, 1):
                octets += member.size
                if count > MAX_MEMBERS or octets > MAX_OCTETS:
                    raise EngineError(f"{shown} is too large to be the source of an OpenSIPS")
                path = _inside(member.name, shown)
                if member.isdir():
                    (target / path).mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    _write(tar, member, target / path)
                elif member.issym():
                    _check_link(path, member.linkname, shown)
                    links.append((path, member.linkname))
                else:
                    raise EngineError(f"{shown} holds {member.name!r}, which is no file")
        # Last, so that no file is written through one.
        for path, destination in links:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(destination, target / path)
    except (tarfile.TarError, EOFError, zlib.error, UnicodeError) as error:
        raise EngineError(
            f"{shown} is not a whole tar archive: {error}", hint="fetch it again"
        ) from error
    except OSError as error:
        place = error.filename or target
        raise EngineError(f"cannot unpack {shown}: {place}: {error.strerror or error}") from error


def _opened(archive: Path | IO[bytes]) -> tarfile.TarFile:
    if isinstance(archive, Path):
        return tarfile.open(archive, "r:*")
    return tarfile.open(fileobj=archive, mode="r|")


def _inside(name: str, shown: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise EngineError(
            f"{shown} holds {name!r}, which would be written outside its directory",
            hint="do not use this archive",
        )
    return str(path)


def _check_link(path: str, destination: str, shown: str) -> None:
    depth = len(PurePosixPath(path).parts) - 1
    pointed = PurePosixPath(destination)
    for part in pointed.parts:
        depth += -1 if part == ".." else 1
        if depth < 0 or pointed.is_absolute():
            raise EngineError(
                f"{shown} holds the link {path!r}, which leads outside its directory",
                hint="do not use this archive",
            )


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    with path.open("xb") as file:
        while block := content.read(_BLOCK):
            file.write(block)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)
    os.utime(path, (member.mtime, member.mtime))


def top_directory(directory: Path) -> Path:
    """Where the source is in what an archive was unpacked to: most have one directory on top."""
    entries = list(directory.iterdir())
    if len(entries) == 1 and entries[0].is_dir() and not entries[0].is_symlink():
        return entries[0]
    return directory
