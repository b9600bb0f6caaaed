"""The server process: ``python -m rcsops.server --project DIR``.

``rcsops start`` runs it in a session of its own; ``--foreground`` keeps the log on the terminal.
The exit code is 1 when it could not start, and the last line of the log says why.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rcsops.errors import RcsopsError
from rcsops.server.logs import start_logging
from rcsops.server.options import ServerOptions
from rcsops.server.run_files import RunFiles, RunLock, load_secret
from rcsops.server.service import Server
from rcsops.settings import Project, Settings
from rcsops.trace import TraceWriter
from rcsops.transport import TlsOptions
from rcsops.transport.loop import loop_runner

logger = logging.getLogger("rcsops.server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the server until it is asked to end; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        project = Project.find(options.project)
        files = RunFiles(project.make_run_dir())
        # Before the lock nothing may be written there: it could be another server's.
        lock = RunLock(files)
        lock.acquire()
    except RcsopsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    start_logging(None if options.foreground else files.log)
    if not options.foreground:
        _output_to(files.log)
    try:
        return _run(project, files, options)
    finally:
        lock.release()


def _run(project: Project, files: RunFiles, options: argparse.Namespace) -> int:
    trace: TraceWriter | None = None
    try:
        if options.trace is not None:
            trace = TraceWriter(options.trace, options.node)
        with loop_runner() as runner:
            runner.run(_serve(project, files, trace, _server_options(project, options)))
        return 0
    except RcsopsError as error:
        logger.error("%s", error)
        if error.hint:
            logger.error("hint: %s", error.hint)
        return 1
    finally:
        if trace is not None:
            trace.close()


def _output_to(log: Path) -> None:
    """What is printed, such as the traceback of a crash, goes to the log as well: whoever started
    the server reads the old stderr to its end."""
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    for number in (1, 2):
        os.dup2(fd, number)
    os.close(fd)


async def _serve(
    project: Project, files: RunFiles, trace: TraceWriter | None, options: ServerOptions
) -> None:
    secret = load_secret(project.state_dir / "server-secret")

    def read_settings() -> Settings:
        return Project.find(project.root).settings

    server = Server(
        project.settings,
        files,
        secret=secret,
        options=options,
        tap=trace,
        read_settings=read_settings,
        tls=_tls_options(project),
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.ask_to_stop)
    try:
        await server.start()
        # Under load thousands of transactions live for their 32 seconds, and the collector's usual
        # 700 new objects between two looks come with every few requests.
        gc.set_threshold(25_000, 10, 5)
        await server.wait()
    finally:
        await server.stop()


def _server_options(project: Project, options: argparse.Namespace) -> ServerOptions:
    settings = project.settings
    least, most = options.min_expires, options.max_expires
    return ServerOptions(
        min_expires=settings.registrar_min_expires if least is None else least,
        max_expires=settings.registrar_max_expires if most is None else most,
        max_contacts=settings.limits.contacts_per_user,
        max_contexts=settings.limits.forwards,
        max_body=settings.limits.body,
        retry_after=settings.limits.retry_after,
        flow_timer=settings.registrar_flow_timer,
        offline_messages=settings.offline_messages,
        offline_expires=settings.offline_expires,
        follow_redirects=settings.proxy_redirects == "follow",
    )


def _tls_options(project: Project) -> TlsOptions:
    certificate, private_key = project.certificate or (None, None)
    return TlsOptions(
        certificate=certificate,
        private_key=private_key,
        ca=project.authorities,
        # Any authority of the system would let in any client in the world.
        system_ca=False,
        client_certificates=project.settings.tls_client_certificates,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rcsops.server", description=__doc__)
    parser.add_argument("--project", metavar="DIR", help="the project's directory")
    parser.add_argument("--foreground", action="store_true", help="log to the terminal")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write each message to FILE")
    parser.add_argument("--node", default="server", help="this server's name in the trace")
    parser.add_argument("--min-expires", type=int, metavar="SECONDS")
    parser.add_argument("--max-expires", type=int, metavar="SECONDS")
    return parser


if __name__ == "__main__":
    sys.exit(main())
