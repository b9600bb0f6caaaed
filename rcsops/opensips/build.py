"""Building with upstream's own Makefile: the command, what it has got done, how it ends."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rcsops.errors import EngineError, UsageError
from rcsops.opensips.diagnosis import diagnose
from rcsops.opensips.releases import CORE_PROTOCOLS, Release

# make expands these, or ends a word at them.
_UNSAFE = re.compile(r"[^A-Za-z0-9/._+@~-]")
_COMPILED = re.compile(rb" -c (\S+\.c) .*?-o \S+\.o\b|-o \S+\.o .*?-c (\S+\.c)\b")
_MODULE = re.compile(rb"-DMOD_NAME='?\"?(\w+)")
# The environment of a person must not change what is built.
_VARIABLES = re.compile(
    r"(MAKE.*|MFLAGS|GNUMAKEFLAGS|PREFIX|BASEDIR|DESTDIR|modules?|(in|ex)clude_modules"
    r"|skip_modules|CFLAGS|CC_.*|LDFLAGS|DEFS|LIBS|FASTER|NICER|MOD_.*|LC_.*|LANG(UAGE)?)$"
)
# What a module says in its dep_export_t; other kinds can do without.
_DEPENDENCY = re.compile(r'\{\s*MOD_TYPE_DEFAULT\s*,\s*"(\w+)"\s*,\s*DEP_ABORT\b')
# Names and lines for a backtrace, without the values: a quarter less time than upstream's -g.
_DEBUG = "-g1"
# As Debian's rules and upstream's own packages have it: a quarter less time than -O9, which gcc
# takes for -O3.
_OPTIMIZE = "-O2"
_END_SECONDS = 5.0
# 3.0 asks OpenSSL what went wrong on a connection without forgetting first what went wrong on
# another; and what OpenSSL 3 remembers of that was allocated before the fork, in memory that all
# processes share. Whoever breaks off, or sends rubbish, takes other clients with them.
_TLS_MODULES = ("proto_tls", "proto_wss")
_TLS_HEADER = """\
#pragma once
#include <pthread.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#if OPENSSL_VERSION_NUMBER >= 0x10100000L
__attribute__((constructor)) static void each_process_has_its_own(void)
{
	pthread_atfork(OPENSSL_thread_stop, 0, 0);
}
#endif
#define SSL_accept(ssl) (ERR_clear_error(), SSL_accept(ssl))
#define SSL_connect(ssl) (ERR_clear_error(), SSL_connect(ssl))
#define SSL_read(ssl, buffer, size) (ERR_clear_error(), SSL_read(ssl, buffer, size))
#define SSL_write(ssl, buffer, size) (ERR_clear_error(), SSL_write(ssl, buffer, size))
#define SSL_shutdown(ssl) (ERR_clear_error(), SSL_shutdown(ssl))
"""


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """``done`` of ``total`` files are compiled, the last one in ``module`` ("core" for OpenSIPS
    itself); ``remaining`` seconds are left, as far as one can tell."""

    done: int
    total: int
    module: str
    remaining: float | None


@dataclass(frozen=True, slots=True)
class Build:
    """How one release is built in ``source`` and installed below ``stage``.

    ``prefix`` is compiled in: it is where the files are meant to be in the end. ``core`` is False
    when only modules are added to what is there.
    """

    release: Release
    source: Path
    prefix: Path
    stage: Path
    modules: tuple[str, ...]
    jobs: int
    core: bool = True

    def commands(self) -> list[list[str]]:
        """What is run in ``source``: one make for all of it, so that no processor waits for the
        last file of the core before it begins with the modules; and another for those modules of
        3.0 that are compiled with `_TLS_HEADER`."""
        apart = tuple(name for name in self.modules if name in _TLS_MODULES)
        if self.release.line > (3, 0) or not apart:
            return [self._command(self.modules, core=self.core)]
        first = tuple(name for name in self.modules if name not in apart)
        found = [self._command(first, core=self.core)] if first or self.core else []
        return [*found, self._command(apart, core=False, options=("-include", str(self._header)))]

    def _command(
        self, modules: tuple[str, ...], *, core: bool, options: tuple[str, ...] = ()
    ) -> list[str]:
        goals = ["app", "install-cfg", "install-man"] if core else []
        goals.append("install-modules")
        if self._has_target("install-modules-dbschema"):
            goals.append("install-modules-dbschema")
        if not core and not self._wants_libraries(modules):
            goals.append("--old-file=gen_misclibs")
        names = " ".join(f"modules/{name}" for name in modules)
        return self._make(*goals, f"modules={names}", f"BASEDIR={self.stage}", options=options)

    def _wants_libraries(self, modules: tuple[str, ...]) -> bool:
        """Whether one of the modules is linked with the libraries of the tree itself, which make
        builds for each module otherwise."""
        for name in modules:
            makefile = self.source / "modules" / name / "Makefile"
            with contextlib.suppress(OSError):
                if "misclibs" in makefile.read_text("utf-8", "replace"):
                    return True
        return False

    def _make(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        extra = (*self.release.compiler_options, _DEBUG, *options)
        return [
            "make",
            f"--jobs={self.jobs}",
            # What the commands of one target print stays together.
            "--output-sync=target",
            *words,
            # Modules side by side, each command in the log.
            "FASTER=1",
            "NICER=0",
            # The lists of headers serve those who edit sources; they cost a run of the
            # preprocessor for each file.
            "depends=",
            f"CC_OPTIMIZE_FLAG={_OPTIMIZE}",
            f"PREFIX={self.prefix}/",
            f"CC_EXTRA_OPTS={' '.join(extra)}",
        ]

    @property
    def _header(self) -> Path:
        return self.source.with_name("openssl_errors.h")

    def _has_target(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            text = (self.source / "Makefile").read_text("utf-8", "replace")
            return re.search(rf"^{re.escape(name)}\s*:", text, re.MULTILINE) is not None
        return False

    def count(self) -> int:
        """How many files are to be compiled yet."""
        total = 0
        if self.core:
            planned = subprocess.run(  # noqa: S603
                [*self._make("app"), "--dry-run"],
                cwd=self.source,
                env=make_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
            total += sum(1 for line in planned.stdout.splitlines() if _COMPILED.search(line))
        for name in self.modules:
            for source in (self.source / "modules" / name).glob("*.c"):
                total += not source.with_suffix(".o").exists()
        return total

    def run(
        self, log: Path, on_progress: Callable[[BuildProgress], None], *, lock: int | None = None
    ) -> None:
        """Builds and installs below ``stage``; everything that make prints goes to ``log``.

        ``lock`` is a file descriptor that make keeps open as long as it runs. Raises `EngineError`
        with the first real error, its likely cause and mend; whatever interrupts it ends make
        first.
        """
        check_path(self.prefix)
        check_path(self.source)
        total, done, started = self.count(), 0, time.monotonic()
        on_progress(BuildProgress(0, total, "core" if self.core else "", None))
        commands = self.commands()
        if any(str(self._header) in word for command in commands for word in command):
            self._header.write_text(_TLS_HEADER, encoding="utf-8")
        with log.open("ab") as file:
            for command in commands:
                file.write(f"\n$ cd {self.source} && {shlex.join(command)}\n".encode())
                file.flush()
                offset = file.tell()
                with _make_process(command, self.source, lock) as process:
                    assert process.stdout is not None
                    for module in _compiled(process.stdout, file):
                        done += 1
                        passed = time.monotonic() - started
                        left = max(total - done, 0) * passed / done if done >= 5 else None
                        on_progress(BuildProgress(done, max(total, done), module, left))
                if process.returncode != 0:
                    file.flush()
                    raise self._failure(log, offset, process.returncode)
        on_progress(BuildProgress(done, done, "", 0.0))

    def _failure(self, log: Path, offset: int, code: int) -> EngineError:
        with log.open("rb") as file:
            file.seek(offset)
            text = file.read().decode("utf-8", "replace")
        found = diagnose(text, self.release, self.modules)
        cause = f" ({found.cause})" if found.cause else ""
        return EngineError(
            f"OpenSIPS {self.release.version} did not build: "
            f"{found.error or f'make ended with exit code {code}'}{cause}",
            hint="; ".join(filter(None, (found.mend, f"the full log: {log}"))),
        )


def available_modules(source: Path) -> tuple[str, ...]:
    """The modules that a source has."""
    return tuple(sorted(path.parent.name for path in (source / "modules").glob("*/Makefile")))


def default_modules(source: Path) -> tuple[str, ...]:
    """The modules that upstream's ``make all`` builds: those that need no further library."""
    try:
        text = (source / "Makefile.conf.template").read_text("utf-8", "replace")
    except OSError:
        text = ""
    match = re.search(r"^exclude_modules\s*\??=(.*)$", text, re.MULTILINE)
    excluded = match[1].split() if match else []
    return tuple(name for name in available_modules(source) if name not in excluded)


def with_dependencies(modules: tuple[str, ...], source: Path) -> tuple[str, ...]:
    """These modules and all that they cannot be loaded without, as their sources say."""
    known = {*available_modules(source)}
    found: set[str] = set()
    left = [*modules]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for path in (source / "modules" / name).glob("*.c"):
            text = path.read_text("utf-8", "replace")
            left += [each for each in _DEPENDENCY.findall(text) if each in known]
    return tuple(sorted(found))


def check_modules(modules: tuple[str, ...], known: tuple[str, ...], version: str) -> None:
    """Raises `UsageError` for names that are not among the ``known`` modules of the release."""
    import difflib

    for name in modules:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "its modules directory has them all"
        if name in CORE_PROTOCOLS:
            hint = "it is part of the core; leave it out"
        raise UsageError(f"OpenSIPS {version} has no module {name!r}", hint=hint)


def check_path(path: Path) -> None:
    """Raises `UsageError` for a path that make cannot handle."""
    found = _UNSAFE.search(str(path))
    if found is not None:
        raise UsageError(
            f"OpenSIPS cannot be built in or for {path}: its Makefile breaks at {found[0]!r}",
            hint="use a project directory (or a --prefix) of letters, digits and ._+@~- alone",
        )


def make_environment() -> dict[str, str]:
    """The environment that make runs in: ours without what would change the build."""
    kept = {name: value for name, value in os.environ.items() if not _VARIABLES.match(name)}
    return {**kept, "LC_ALL": "C"}


def _compiled(output: IO[bytes], log: IO[bytes]) -> Iterator[str]:
    """The module of each file that was compiled; everything goes to the log."""
    for line in output:
        log.write(line)
        if _COMPILED.search(line):
            log.flush()
            module = _MODULE.search(line)
            yield module[1].decode() if module else "core"


@contextlib.contextmanager
def _make_process(
    command: list[str], directory: Path, lock: int | None
) -> Iterator["subprocess.Popen[bytes]"]:
    """make in a session of its own: what ends us ends it, its compilers and what they were
    writing."""
    if shutil.which(command[0]) is None:
        raise EngineError("make is not installed", hint="apt-get install make")
    process = subprocess.Popen(  # noqa: S603
        command,
        cwd=directory,
        env=make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=() if lock is None else (lock,),
    )
    assert process.stdout is not None
    try:
        yield process
        process.wait()
    finally:
        if process.poll() is None:
            _end(process)
        process.stdout.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    # SIGINT first: make removes the targets that are half done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_SECONDS)
            return
    process.wait()
