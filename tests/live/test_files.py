"""Files between two agents through every server: broken off, gone on with, paused, fetched."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from rcsops import Agent
from rcsops.errors import TransferError
from rcsops.settings import FileRules
from rcsops.testing.waiting import eventually
from rcsops.ua import Transfer, TransferStatus
from tests.live.phones import DOMAIN
from tests.live.subjects import Server

pytestmark = [pytest.mark.feature("files"), pytest.mark.rfc("5547", "8"), pytest.mark.timeout(120)]

SIZE = 16 << 20


def agent(server: Server, name: str, directory: Path, transport: str) -> Agent:
    return Agent(
        f"sip:{name}@{DOMAIN}",
        server=server.address,
        transport=transport,
        password=f"of {name}",
        file_rules=FileRules.parse(["accept"]),
        downloads=directory / f"{name}-in",
        transfers=directory / f"{name}-state",
        # Small chunks, so that it can be caught midway.
        file_chunk=2048,
        retry_base=0.2,
    )


async def begun(bob: Agent) -> Transfer:
    """A file that comes, of which something is here."""
    await eventually(lambda: any(each.octets > 1 << 20 for each in bob.transfers), timeout=30)
    return bob.transfers[0]


@pytest.mark.smoke
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_file_is_paused_broken_off_and_fetched(
    anywhere: Server, tmp_path: Path, transport: str
) -> None:
    names = [f"{name}-{transport}" for name in ("film", "news")]
    for name in names:
        anywhere.add_user(name, f"of {name}")
    film = tmp_path / "film.bin"
    film.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    wanted = hashlib.sha256(film.read_bytes()).hexdigest()
    arrived = tmp_path / f"{names[1]}-in" / "film.bin"
    async with agent(anywhere, names[0], tmp_path, transport) as alex:
        await alex.register()
        async with agent(anywhere, names[1], tmp_path, transport) as bob:
            await bob.register()
            ours = await alex.send_file(f"sip:{names[1]}@{DOMAIN}", film)
            theirs = await begun(bob)
            # A re-INVITE through the proxy, from either side. One that is too long for UDP goes by
            # TCP (RFC 3261 §18.1.1), which changes nothing about where its sender is to be found.
            for one, other in (theirs, ours), (ours, theirs), (theirs, ours):
                await one.pause()
                await eventually(lambda each=other: each.status is TransferStatus.PAUSED, 30)
                await one.resume()
                await eventually(lambda each=other: each.status is TransferStatus.RUNNING, 30)
            link = ours._call.link if ours._call is not None else None
            assert link is not None and link._stream is not None
            link._stream.abort()
            await eventually(lambda: ours.status is TransferStatus.INTERRUPTED, 30)
            await eventually(lambda: theirs.status is TransferStatus.RUNNING, 30)
        # The receiver was closed in the middle, and comes back as another process would.
        await eventually(lambda: ours.status is TransferStatus.INTERRUPTED, 30)
        async with agent(anywhere, names[1], tmp_path, transport) as bob:
            await bob.register()
            (theirs,) = bob.transfers
            assert 0 < theirs.octets < SIZE
            await theirs.resume()
            await theirs.done(60)
            await ours.done(60)
            assert hashlib.sha256(arrived.read_bytes()).hexdigest() == wanted
            more: dict[str, Any] = {"name": "film.bin"}
            peer = f"sip:{names[0]}@{DOMAIN}"
            fetched = await bob.fetch_file(peer, tmp_path / "fetched", **more)
            await fetched.done(60)
            refused = await bob.fetch_file(peer, tmp_path / "fetched", name="secret.bin")
            with pytest.raises(TransferError, match="No such file is shared"):
                await refused.done(30)
    assert hashlib.sha256((tmp_path / "fetched" / "film.bin").read_bytes()).hexdigest() == wanted
