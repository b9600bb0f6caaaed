"""What peers ask of a user in ``rcsops chat``: to take an invitation, to take a file."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from rcsops.errors import AgentError, RcsopsError
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_notices import Narrator
from rcsops.operations.wording import amount
from rcsops.settings import FileVerdict
from rcsops.ua import FileOffer, HttpDownload, HttpOffer, Invitation, Transfer, events

__all__ = ["Door"]


class Door:
    """Answers what peers ask, at once or when the user says so; one question waits at a time.

    ``busy`` says why an invitation of a peer (its address) cannot be taken, in words; empty when it
    can. ``resumes`` says whether it goes on with a session that its user has agreed to before.
    ``not_opened`` is told why a session did not come about. ``spawn`` runs something beside.
    Files go to ``directory``, without a question when the agent's rules accept them.
    """

    def __init__(
        self,
        narrator: Narrator,
        teller: Teller,
        *,
        busy: Callable[[str], str],
        resumes: Callable[[Invitation], bool],
        not_opened: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        directory: Path,
        auto_accept: bool,
    ) -> None:
        self._transfers: set[Transfer | HttpDownload] = set()
        self._narrator = narrator
        self._teller = teller
        self._busy = busy
        self._resumes = resumes
        self._not_opened = not_opened
        self._spawn = spawn
        self._directory = directory
        self._auto_accept = auto_accept
        self._waiting: Invitation | FileOffer | HttpOffer | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> Invitation | FileOffer | HttpOffer | None:
        """What waits for the user's answer."""
        return self._waiting if self._waiting is not None and self._waiting.pending else None

    @property
    def opening(self) -> "asyncio.Task[None] | None":
        """The acceptance of an invitation while it is under way."""
        task = self._opening
        return task if task is not None and not task.done() else None

    def invited(self, invitation: Invitation) -> None:
        """A peer invites us."""
        peer = self._teller.short(invitation.peer)
        busy = self._busy(invitation.peer)
        if not busy and self._waiting is not None:
            waits = self._teller.short(self._waiting.peer)
            busy = f"{waits} waits for your answer"
        if busy:
            invitation.reject(486)
            self._narrator.say(
                "refused",
                f"{peer} invited you and was told that you are busy, because {busy}",
                peer=invitation.peer,
            )
        elif self._auto_accept or self._resumes(invitation):
            self._say_invited(invitation, "accepted")
            self._opening = self._spawn(self._accept(invitation))
        else:
            self._waiting = invitation
            self._say_invited(invitation, "/accept or /decline")

    def _say_invited(self, invitation: Invitation, answer: str) -> None:
        words = f"{self._teller.short(invitation.peer)} invites you: {answer}"
        waits = self._waiting is invitation
        self._narrator.say("invited", words, peer=invitation.peer, waits=waits)

    def offered(self, offer: FileOffer | HttpOffer) -> None:
        """A peer wants to send a file."""
        what = f"{self._teller.short(offer.peer)} sends {offer.name} ({amount(offer.size)})"
        data = {
            "peer": offer.peer,
            "transfer_id": offer.transfer_id,
            "name": offer.name,
            "size": offer.size,
        }
        if offer.verdict is FileVerdict.ACCEPT:
            self._narrator.say("file-offered", what, waits=False, **data)
            self._spawn(self._accept_file(offer))
        elif self._waiting is not None:
            offer.reject(486)
            waits = self._teller.short(self._waiting.peer)
            self._narrator.say(
                "refused", f"{what}: refused, because {waits} waits for your answer", **data
            )
        else:
            self._waiting = offer
            words = f"{what}: /accept or /decline"
            self._narrator.say("file-offered", words, waits=True, **data)

    def taken_back(self, event: events.InviteCancelled) -> None:
        """A peer does not wait any longer for the answer."""
        what = "invitation"
        if self._waiting is not None and self._waiting.chat_id == event.chat_id:
            if isinstance(self._waiting, FileOffer | HttpOffer):
                what = f"offer of {self._waiting.name}"
            self._waiting = None
        text = f"{self._teller.short(event.peer)} took the {what} back"
        self._narrator.say(
            "invite-cancelled", text, peer=event.peer, chat_id=event.chat_id, reason=event.reason
        )

    def accept(self) -> None:
        """The user says yes."""
        waiting, self._waiting = self._waiting, None
        if isinstance(waiting, Invitation):
            busy = self._busy(waiting.peer)
            if busy:
                self._waiting = waiting
                self._narrator.fail(f"not now: {busy}", hint="/bye ends it, /decline refuses")
                return
            self._opening = self._spawn(self._accept(waiting))
        elif isinstance(waiting, FileOffer | HttpOffer):
            self._spawn(self._accept_file(waiting))
        else:
            self._narrator.fail("nobody waits for your answer")

    def decline(self) -> None:
        """The user says no."""
        waiting, self._waiting = self._waiting, None
        if waiting is None or not waiting.reject(603):
            self._narrator.fail("nobody waits for your answer")
        else:
            text = f"declined {self._teller.short(waiting.peer)}"
            self._narrator.say("declined", text, peer=waiting.peer)

    def expect(self, transfer: Transfer) -> None:
        """A file is on its way that the user asked for, or let go on."""
        self._transfers.add(transfer)

    def file_done(self, transfer_id: str) -> None:
        """A file is there or has failed."""
        self._transfers = {each for each in self._transfers if each.transfer_id != transfer_id}

    async def settled(self) -> None:
        """Waits for the files that are coming in."""
        waits = (transfer.done() for transfer in self._transfers)
        await asyncio.gather(*waits, return_exceptions=True)

    async def _accept(self, invitation: Invitation) -> None:
        try:
            await invitation.accept()
        except AgentError as error:
            peer = self._teller.short(invitation.peer)
            self._not_opened(f"no session with {peer}: {error}")

    async def _accept_file(self, offer: FileOffer | HttpOffer) -> None:
        try:
            self._transfers.add(await offer.accept(self._directory))
        except RcsopsError as error:
            self._narrator.fail(f"{offer.name} not received: {error}", hint=error.hint)
