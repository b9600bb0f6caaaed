"""The commands of ``rcsops chat`` about files that are on their way, shared, or wanted."""

import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rcsops.errors import UsageError
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_outbox import typed_path
from rcsops.operations.chat_talk import Talk
from rcsops.operations.wording import amount
from rcsops.ua import Agent, FileTransfer, TransferStatus

__all__ = ["FILE_COMMANDS", "FileCommands"]

FILE_COMMANDS = {
    "/files": "the files on their way, interrupted or offered, with their numbers",
    "/pause N": "let file N stand still",
    "/resume N": "let it go on, also one of an earlier time",
    "/cancel N": "give it up",
    "/share FILE": "let the peer fetch a file",
    "/get NAME": "fetch a file that the peer shares, by its name or SHA-1",
}
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")


class FileCommands:
    """Obeys them as a user of ``agent``; what is fetched goes to ``directory``."""

    def __init__(self, agent: Agent, teller: Teller, directory: Path) -> None:
        self._agent = agent
        self._teller = teller
        self._directory = directory

    @property
    def known(self) -> dict[str, Callable[[Talk, str], Coroutine[Any, Any, None]]]:
        """What obeys each command."""
        return {
            "/files": self._list,
            "/pause": self._pause,
            "/resume": self._resume,
            "/cancel": self._cancel,
            "/share": self._share,
            "/get": self._get,
        }

    async def _list(self, talk: Talk, _argument: str) -> None:
        transfers = self._agent.transfers
        offers = talk.door.offers
        lines = [self._line(each) for each in transfers] + [words for words, _ in offers]
        talk.narrator.say(
            "files",
            "\n".join(lines or ["no file is on its way"]),
            files=[_facts(each) for each in transfers],
            offers=[facts for _, facts in offers],
        )

    def _line(self, transfer: FileTransfer) -> str:
        way = "from" if transfer.incoming else "to"
        share = transfer.octets * 100 // transfer.size if transfer.size else 0
        what = f"{transfer.number}  {transfer.name} {way} {self._teller.short(transfer.peer)}"
        return f"{what}: {transfer.status}, {share} % of {amount(transfer.size)}"

    async def _pause(self, talk: Talk, argument: str) -> None:
        await self._chosen(argument, "/pause").pause()

    async def _resume(self, talk: Talk, argument: str) -> None:
        transfer = self._chosen(argument, "/resume")
        await transfer.resume()
        talk.door.expect(transfer)

    async def _cancel(self, talk: Talk, argument: str) -> None:
        await self._chosen(argument, "/cancel").cancel()

    def _chosen(self, argument: str, command: str) -> FileTransfer:
        transfers = self._agent.transfers
        if not argument and len(transfers) == 1:
            return transfers[0]
        for transfer in transfers:
            if argument == str(transfer.number):
                return transfer
        question = f"there is no file {argument}" if argument else f"{command} which file?"
        raise UsageError(question, hint=f"/files shows their numbers; {command} 1")

    async def _share(self, talk: Talk, argument: str) -> None:
        if not argument:
            raise UsageError("/share which file?", hint="/share picture.jpg")
        peer = await self._peer(talk)
        path = typed_path(argument)
        sha1 = await self._agent.share(peer, path)
        name = self._teller.short(peer)
        talk.narrator.say(
            "file-shared",
            f"{name} may fetch {path.name} (SHA-1 {sha1})",
            peer=peer,
            name=path.name,
            sha1=sha1,
        )

    async def _get(self, talk: Talk, argument: str) -> None:
        if not argument:
            raise UsageError("/get which file?", hint="/get picture.jpg")
        peer = await self._peer(talk)
        wanted = {"sha1": argument} if _SHA1.fullmatch(argument) else {"name": argument}
        chat = talk.chat
        uri = peer if chat is None else chat.remote_uri
        transfer = await self._agent.fetch_file(uri, self._directory, chat=chat, **wanted)
        talk.door.expect(transfer)
        talk.narrator.say(
            "file-asked",
            f"asking {self._teller.short(peer)} for {argument}",
            peer=peer,
            transfer_id=transfer.transfer_id,
            wanted=argument,
        )

    async def _peer(self, talk: Talk) -> str:
        await talk.ready()
        peer = talk.chat.peer if talk.chat is not None else talk.letters.peer or talk.only
        if not peer:
            raise UsageError("with whom?", hint="/invite PEER starts a session")
        return peer


def _facts(transfer: FileTransfer) -> dict[str, object]:
    return {
        "number": transfer.number,
        "transfer_id": transfer.transfer_id,
        "peer": transfer.peer,
        "name": transfer.name,
        "via": transfer.WAY,
        "incoming": transfer.incoming,
        "status": transfer.status.value,
        "paused": transfer.paused or transfer.status is TransferStatus.PAUSED,
        "octets": transfer.octets,
        "total": transfer.size,
    }
