"""The process that serves: everything put together, and taken apart again."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import sys

from rcsops.content.auth import ContentAuth
from rcsops.content.service import ContentServer
from rcsops.content.store import ContentStore
from rcsops.database import Store, SubscriberCache, check_tables
from rcsops.database.shapes import EMBEDDED, shape_of
from rcsops.errors import EngineError
from rcsops.opensips.releases import release_line
from rcsops.server.auth import offered_algorithms
from rcsops.server.guard import Guard, GuardLimits
from rcsops.server.run_files import RunFiles, load_secret, write_private
from rcsops.settings import Project
from rcsops.sip import DigestServer
from rcsops.transport import Tls, TlsOptions, system_tokens

__all__ = ["serve"]

logger = logging.getLogger("rcsops.content")


def serve(project: Project, files: RunFiles) -> None:
    """Serves until SIGTERM, or until stdin ends: whoever watches over us is gone then. Writes
    `RunFiles.ready` once it listens. Raises `RcsopsError` when it cannot start."""
    asyncio.run(_serve(project, files))


async def _serve(project: Project, files: RunFiles) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)

    def watcher_spoke() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            ended.set()

    loop.add_reader(sys.stdin.fileno(), watcher_spoke)
    settings = project.settings
    tls = _tls(project)
    is_embedded = settings.engine == "embedded"
    shape = EMBEDDED if is_embedded else shape_of(release_line(settings.release))
    accounts = await asyncio.to_thread(
        Store.open, settings.database_url, prepare=lambda each: check_tables(each, shape)
    )
    try:
        store = await asyncio.to_thread(ContentStore.open, project.content_dir, settings.content)
        try:
            auth = _auth(project, SubscriberCache(accounts, line=shape.line))
            domains = (settings.domain, *settings.domains)
            server = ContentServer(settings.content, domains, store, auth, tls)
            await server.start()
            kept = await store.usage()
            ready = {"url": settings.content.upload_url, "listens": server.listens}
            write_private(files.ready, json.dumps({**ready, "pid": os.getpid()}).encode())
            logger.info(
                "listening at %s as %s, %d files kept", server.listens, ready["url"], kept.files
            )
            await ended.wait()
            with contextlib.suppress(OSError):
                files.ready.unlink()
            await server.stop()
        finally:
            await asyncio.to_thread(store.close)
    finally:
        await asyncio.to_thread(accounts.close)


def _auth(project: Project, cache: SubscriberCache) -> ContentAuth:
    algorithms = offered_algorithms(project.settings)
    secret = load_secret(project.state_dir / "content-secret")
    tokens = system_tokens()
    return ContentAuth(
        lambda realm: DigestServer(realm, secret, tokens, algorithms=algorithms),
        cache,
        algorithms,
        Guard(GuardLimits.of(project.settings.limits)),
        asyncio.get_running_loop().time,
    )


def _tls(project: Project) -> ssl.SSLContext | None:
    if project.settings.content.address.transport == "http":
        return None
    if project.certificate is None:
        raise EngineError(
            "there is no certificate for content.listen", hint="make one for a lab: rcsops certs"
        )
    certificate, private_key = project.certificate
    return Tls(TlsOptions(certificate=certificate, private_key=private_key)).server()
