"""The source of a release: where it comes from, how it gets into place, whether it is whole."""

import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from rcsops.errors import EngineError, UsageError
from rcsops.opensips import tree as trees
from rcsops.opensips.archive import top_directory, unpack
from rcsops.opensips.download import Progress, download
from rcsops.opensips.releases import Release

_ARCHIVE = re.compile(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$", re.IGNORECASE)
_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:(?!//)\S+")
_VERSION = re.compile(r"([0-9]+\.[0-9]+\.[0-9]+)")
# What a build leaves among the sources; a copy of a directory without a list leaves it behind.
_PRODUCTS = (".o", ".d", ".so", ".a", ".il", ".gcda", ".gcno")
_GIT_SECONDS = 1800.0


class Kind(Enum):
    """What a source comes as."""

    URL = "an archive on the network"
    TARBALL = "an archive"
    DIRECTORY = "a directory"
    CHECKOUT = "a git checkout"
    GIT = "a git repository"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source comes from: ``place`` is an address or an absolute path."""

    kind: Kind
    place: str

    def __str__(self) -> str:
        return self.place

    @property
    def local(self) -> bool:
        """Whether it is a file or directory of this machine."""
        return self.place.startswith("/")


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found: the tree id of the files taken, and whether it is upstream's."""

    tree: str
    verified: bool
    differences: trees.Differences


def origin_of(text: str, base: Path) -> Origin:
    """What ``--from`` names; a relative path counts from ``base``. Raises `UsageError`."""
    path = base / os.path.expanduser(text)
    scheme = urlsplit(text).scheme.lower()
    if path.exists():
        return _local(path.resolve())
    if text.startswith("-"):
        raise UsageError(f"{text!r} is no source", hint="name an address, directory or archive")
    if scheme in ("http", "https"):
        kind = Kind.URL if _ARCHIVE.search(urlsplit(text).path) else Kind.GIT
        return Origin(kind, text)
    if scheme in ("git", "ssh", "file") or _SCP_LIKE.fullmatch(text):
        return Origin(Kind.GIT, text)
    if scheme:
        raise UsageError(
            f"{scheme}: is no way to fetch a source", hint="use http, https, ssh, git or a path"
        )
    raise UsageError(
        f"there is no {text!r}",
        hint="--from takes an address, a directory, a tar archive or a git repository",
    )


def _local(path: Path) -> Origin:
    if path.is_file():
        return Origin(Kind.TARBALL, str(path))
    if path.name == ".git" or ((path / "HEAD").is_file() and (path / "objects").is_dir()):
        return Origin(Kind.GIT, str(path))
    if (path / ".git").exists():
        return Origin(Kind.CHECKOUT, str(path))
    return Origin(Kind.DIRECTORY, str(path))


def version_in(directory: Path) -> str:
    """The version that a source says of itself in Makefile.defs, "" when it says none."""
    try:
        text = (directory / "Makefile.defs").read_text("utf-8", "replace")
    except OSError:
        return ""
    return _version_of(text)


def _version_of(text: str) -> str:
    numbers = [
        match[1]
        for name in ("MAJOR", "MINOR", "SUBMINOR")
        if (match := re.search(rf"^VERSION_{name}\s*=\s*([0-9]+)\s*$", text, re.MULTILINE))
    ]
    return ".".join(numbers) if len(numbers) == 3 else ""


def version_of(origin: Origin) -> str:
    """The version of a source, as far as it can be told before it is fetched; "" when not."""
    if origin.kind in (Kind.DIRECTORY, Kind.CHECKOUT):
        return version_in(Path(origin.place))
    if origin.kind is Kind.URL:
        match = _VERSION.search(origin.place.rpartition("/")[2])
        return match[1] if match else ""
    if origin.kind is Kind.TARBALL:
        try:
            with tarfile.open(origin.place, "r:*") as archive:
                for member in archive:
                    if re.fullmatch(r"(\./)?([^/]+/)?Makefile\.defs", member.name):
                        content = archive.extractfile(member)
                        if content is not None:
                            return _version_of(content.read(1 << 20).decode("utf-8", "replace"))
        except (tarfile.TarError, OSError, EOFError):
            return ""
    return ""


def obtain(
    origin: Origin,
    release: Release,
    target: Path,
    *,
    downloads: Path,
    allow_modified: bool = False,
    on_progress: Progress = lambda done, total: None,
    first_pause: float = 1.0,
) -> Checked:
    """Puts the source of ``release`` into the directory ``target``, which is made: whole and
    checked, or not at all.

    ``downloads`` is where archives from the network are kept. Files that are not the release's are
    left behind, unless ``allow_modified``, with which whatever there is is taken. A target that has
    the same files already stays, with what was compiled in it. Raises `EngineError`.
    """
    partial = target.with_name(f"{target.name}.partial")
    _remove(partial)
    partial.mkdir(parents=True)
    try:
        if origin.kind in (Kind.DIRECTORY, Kind.CHECKOUT):
            root = Path(origin.place)
            paths = _tracked(root) if origin.kind is Kind.CHECKOUT else _sources(root)
            result = check(root, release, paths, origin, allow_modified=allow_modified)
            _copy(root, partial, _taken(release, paths, allow_modified=allow_modified))
            source = partial
        else:
            _unpack_from(origin, release, partial, downloads, on_progress, first_pause)
            source = top_directory(partial)
            paths = list(trees.files_below(source))
            result = check(source, release, paths, origin, allow_modified=allow_modified)
            taken = {*_taken(release, paths, allow_modified=allow_modified)}
            for path in paths:
                if path not in taken:
                    (source / path).unlink()
        if not _same(source, target):
            _remove(target)
            os.replace(source, target)
    finally:
        _remove(partial)
    return result


def _same(source: Path, target: Path) -> bool:
    """Whether ``target`` has all of these files already: what was compiled there stays good."""
    entries = trees.entries_of(source, trees.files_below(source))
    return trees.entries_of(target, entries) == entries


def check(
    root: Path,
    release: Release,
    paths: Iterable[str],
    origin: Origin | str,
    *,
    allow_modified: bool = False,
) -> Checked:
    """Compares the files ``paths`` below ``root`` with those of the release.

    Raises `EngineError` that names the first few which are changed or missing, unless
    ``allow_modified``; and for what is no source of OpenSIPS or of another release.
    """
    version = version_in(root)
    if not version or not (root / "Makefile").is_file():
        raise no_source(origin)
    if version != release.version:
        raise EngineError(
            f"{origin} is OpenSIPS {version}, not {release.version}",
            hint=f"to install that, type: rcsops install --release {version} --from …",
        )
    wanted = trees.manifest(release.version) if release.known else None
    found = trees.entries_of(root, wanted if wanted is not None else paths)
    identity = trees.tree_id(found)
    if release.known and identity == release.archive_tree:
        return Checked(identity, True, trees.Differences((), ()))
    different = trees.differences(found, wanted or {})
    if not allow_modified:
        raise _refused(origin, release, identity, different)
    return Checked(identity, False, different)


def no_source(origin: Origin | str) -> EngineError:
    """The error for a place that holds something else."""
    return EngineError(
        f"{origin} is not the source of an OpenSIPS: it has no Makefile.defs with a version",
        hint="name the directory that holds OpenSIPS's Makefile",
    )


def _refused(
    origin: Origin | str, release: Release, identity: str, different: trees.Differences
) -> EngineError:
    if not release.known:
        return EngineError(
            f"OpenSIPS {release.version} is not a release that rcsops can check",
            hint=f"if you trust {origin}, add --allow-modified",
        )
    return EngineError(
        f"{origin} is not OpenSIPS {release.version} as upstream published it: "
        f"{different.text() or f'its tree id is {identity}, not {release.archive_tree}'}",
        hint="if these changes are yours, add --allow-modified; otherwise do not use it",
    )


def _taken(release: Release, paths: Iterable[str], *, allow_modified: bool) -> Iterable[str]:
    wanted = trees.manifest(release.version) if release.known else None
    return paths if wanted is None or allow_modified else wanted


def _tracked(root: Path) -> list[str]:
    # Submodules (mode 160000) are no part of the modules that are built here.
    listed = _git(["-C", str(root), "ls-files", "--stage", "-z"])
    rows = (row.partition("\t") for row in os.fsdecode(listed).split("\0") if row)
    return [path for facts, _, path in rows if not facts.startswith("160000")]


def _sources(root: Path) -> list[str]:
    return [path for path in trees.files_below(root) if not path.endswith(_PRODUCTS)]


def _copy(root: Path, target: Path, paths: Iterable[str]) -> None:
    made: set[Path] = set()
    try:
        for path in paths:
            destination = target / path
            if destination.parent not in made:
                destination.parent.mkdir(parents=True, exist_ok=True)
                made.add(destination.parent)
            if (root / path).exists() or (root / path).is_symlink():
                shutil.copy2(root / path, destination, follow_symlinks=False)
    except OSError as error:
        place = error.filename or target
        raise EngineError(f"cannot copy the source: {place}: {error.strerror or error}") from error


def _unpack_from(
    origin: Origin,
    release: Release,
    target: Path,
    downloads: Path,
    on_progress: Progress,
    first_pause: float,
) -> None:
    if origin.kind is Kind.TARBALL:
        unpack(Path(origin.place), target)
    elif origin.kind is Kind.GIT:
        _export(origin, release, target)
    else:
        archive = downloads / _file_name(origin, release)
        kept = archive.is_file()
        if not kept:
            download(origin.place, archive, on_progress=on_progress, first_pause=first_pause)
        try:
            unpack(archive, target, name=origin.place)
        except EngineError:
            # It must not be taken for the archive again.
            archive.unlink(missing_ok=True)
            raise


def _file_name(origin: Origin, release: Release) -> str:
    last = urlsplit(origin.place).path.rpartition("/")[2]
    match = _ARCHIVE.search(last)
    return f"opensips-{release.version}{match[0].lower() if match else '.tar.gz'}"


def _export(origin: Origin, release: Release, target: Path) -> None:
    tag = release.tag or release.version
    if Path(origin.place).is_dir():
        _archive(origin.place, tag, origin, target)
        return
    clone = target.with_name("clone.git")
    _remove(clone)
    try:
        command = ["clone", "--quiet", "--bare", "--depth", "1", "--branch", tag]
        _git([*command, "--", origin.place, str(clone)])
        _archive(str(clone), tag, origin, target)
    finally:
        _remove(clone)


def _archive(repository: str, tag: str, origin: Origin, target: Path) -> None:
    command = ["--git-dir", repository, "archive", "--format=tar", f"refs/tags/{tag}"]
    try:
        process = subprocess.Popen(  # noqa: S603
            ["git", *command],  # noqa: S607
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_git_environment(),
        )
    except OSError as error:
        raise _no_git(error) from error
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            unpack(process.stdout, target, name=str(origin))
        except EngineError as error:
            process.kill()
            said = process.stderr.read().decode("utf-8", "replace")
            if "not a valid object name" in said or "not a tree object" in said:
                raise EngineError(
                    f"{origin} has no tag {tag}",
                    hint="fetch the tags there (git fetch --tags), or name another repository",
                ) from None
            raise EngineError(_last_line(said) or str(error), hint=error.hint) from error
        process.stdout.read()


def _git(arguments: list[str]) -> bytes:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_SECONDS,
            env=_git_environment(),
            check=False,
        )
    except OSError as error:
        raise _no_git(error) from error
    except subprocess.TimeoutExpired as error:
        raise EngineError("git did not end within half an hour") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace")
        hint = "check the address and the network"
        if "dubious ownership" in said:
            hint = "the repository belongs to another user: export the tag there, or copy it"
        raise EngineError(f"git: {_last_line(said)}", hint=hint)
    return done.stdout


def _git_environment() -> dict[str, str]:
    # Nobody is here to answer git's questions, and no repository around us is meant.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_DIR")}
    return {**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


def _no_git(error: OSError) -> EngineError:
    return EngineError(
        f"git cannot be run: {error.strerror}",
        hint="install git, or use --from with an archive or a directory",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (telling or lines or [""])[-1]


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
