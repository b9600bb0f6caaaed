"""Offers of files over HTTP that an earlier run of an agent left in its user's history."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rcsops.database.history import Attachment
from rcsops.rcs import FileInfo, StoredFile, fthttp
from rcsops.ua.history import History


async def offer_left(path: Path, *peers: str, message_id: str) -> None:
    """``beach.jpg`` of 5000 octets, good for a day, from each of ``peers`` by this Message-ID."""
    until = (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)
    stored = StoredFile("https://files.rcs.example/1", 5000, "image/jpeg", until)
    told = FileInfo(stored, "beach.jpg")
    history = await History.open(path)
    for peer in peers:
        kept: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        history.incoming(
            peer,
            message_id,
            told.text,
            datetime.now(UTC),
            content_type=fthttp.CONTENT_TYPE,
            file=Attachment(told.name, size=5000),
            done=kept.set_result,
        )
        assert await kept is True
    await history.close()
