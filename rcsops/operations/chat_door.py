"""What peers ask of a user in ``rcsops chat``: to take an invitation, to take a file."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

from rcsops.errors import AgentError, RcsopsError, UsageError
from rcsops.operations.chat_events import Teller
from rcsops.operations.chat_notices import Narrator
from rcsops.operations.wording import amount
from rcsops.settings import FileVerdict
from rcsops.ua import FileOffer, FileTransfer, HttpOffer, Invitation, events

__all__ = ["Door"]

Question: TypeAlias = Invitation | FileOffer | HttpOffer

# So many files may wait for an answer.
_MAX_FILES = 9


class Door:
    """Answers what peers ask, at once or when the user says so.

    One invitation and some files may wait at a time, each with a number.

    ``busy`` says why an invitation of a peer (its address) cannot be taken, in words; empty when it
    can. ``resumes`` says whether it goes on with a session that its user has agreed to before.
    ``unreached`` is told why no session came of an invitation of a peer that was accepted.
    ``spawn`` runs something beside.
    Files go to ``directory``, without a question when the agent's rules accept them.
    """

    def __init__(
        self,
        narrator: Narrator,
        teller: Teller,
        *,
        busy: Callable[[str], str],
        resumes: Callable[[Invitation], bool],
        unreached: Callable[[str, AgentError], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
        directory: Path,
        auto_accept: bool,
    ) -> None:
        self._transfers: set[FileTransfer] = set()
        self._narrator = narrator
        self._teller = teller
        self._busy = busy
        self._resumes = resumes
        self._unreached = unreached
        self._spawn = spawn
        self._directory = directory
        self._auto_accept = auto_accept
        self._asked: dict[int, Question] = {}
        self._opening: asyncio.Task[None] | None = None
        self.opening_to = ""
        """Whose invitation was accepted last."""

    @property
    def waiting(self) -> dict[int, Question]:
        """What waits for the user's answer, by its number; the one that came first is first."""
        return {number: each for number, each in self._asked.items() if each.pending}

    def _put(self, question: Question) -> tuple[int, str]:
        """Lets it wait; returns its number and the words that ask for an answer."""
        self._asked = self.waiting
        number = max(self._asked, default=0) + 1
        self._asked[number] = question
        if number == 1:
            return number, "/accept or /decline"
        return number, f"/accept {number} or /decline {number}"

    def _is_asked(self, question: Question) -> bool:
        return any(each is question for each in self._asked.values())

    @property
    def opening(self) -> "asyncio.Task[None] | None":
        """The acceptance of an invitation while it is under way."""
        task = self._opening
        return task if task is not None and not task.done() else None

    def invited(self, invitation: Invitation) -> None:
        """A peer invites us."""
        peer = self._teller.short(invitation.peer)
        busy = self._busy(invitation.peer)
        for each in self.waiting.values():
            if not busy and isinstance(each, Invitation):
                busy = f"{self._teller.short(each.peer)} waits for your answer"
        if busy:
            invitation.reject(486)
            self._narrator.say(
                "refused",
                f"{peer} invited you and was told that you are busy, because {busy}",
                peer=invitation.peer,
            )
        elif self._auto_accept or self._resumes(invitation):
            self._say_invited(invitation, "accepted")
            self._open(invitation)
        else:
            self._say_invited(invitation, self._put(invitation)[1])

    def _say_invited(self, invitation: Invitation, answer: str) -> None:
        words = f"{self._teller.short(invitation.peer)} invites you: {answer}"
        waits = self._is_asked(invitation)
        self._narrator.say("invited", words, peer=invitation.peer, waits=waits)

    def offered(self, offer: FileOffer | HttpOffer) -> None:
        """A peer wants to send a file."""
        what = f"{self._teller.short(offer.peer)} sends {offer.name} ({amount(offer.size)})"
        data = _facts(offer)
        if offer.verdict is FileVerdict.ACCEPT:
            self._narrator.say("file-offered", what, waits=False, number=None, **data)
            self._spawn(self._accept_file(offer))
        elif sum(not isinstance(each, Invitation) for each in self.waiting.values()) >= _MAX_FILES:
            offer.reject(486)
            refused = "refused" if isinstance(offer, FileOffer) else "asked at the next start"
            words = f"{what}: {refused}, because {_MAX_FILES} files wait for your answer"
            self._narrator.say("refused", words, **data)
        else:
            number, answer = self._put(offer)
            words = f"{what}: {answer}"
            self._narrator.say("file-offered", words, waits=True, number=number, **data)

    def offered_before(self, offer: HttpOffer) -> None:
        """A peer told an earlier process of a file, and the user has not answered."""
        if expired := offer.expired:
            what = f"{offer.name} of {self._teller.short(offer.peer)}"
            reason = f"it waited for your answer, and {expired}"
            offer.reject(480)
            self._narrator.say(
                "file-expired", f"{what} is gone: {reason}", reason=reason, **_facts(offer)
            )
        else:
            self.offered(offer)

    @property
    def offers(self) -> list[tuple[str, dict[str, object]]]:
        """The files that wait for an answer: the words, and what a notice has of each."""
        return [
            (
                f"{self._name(each)} ({amount(each.size)}) waits for your answer: /accept {number}",
                {"number": number, **_facts(each)},
            )
            for number, each in self.waiting.items()
            if not isinstance(each, Invitation)
        ]

    def taken_back(self, event: events.InviteCancelled) -> None:
        """A peer does not wait any longer for the answer."""
        what, transfer_id = "invitation", None
        for number, each in list(self._asked.items()):
            if not isinstance(each, HttpOffer) and each.chat_id == event.chat_id:
                if isinstance(each, FileOffer):
                    what, transfer_id = f"offer of {each.name}", each.transfer_id
                del self._asked[number]
        peer = self._teller.short(event.peer)
        if "elsewhere" in event.reason:
            # What a server says to the devices that were slower (RFC 3326 §2 in a CANCEL).
            text = f"the {what} of {peer} was answered on another device"
        else:
            text = f"{peer} took the {what} back"
        self._narrator.say(
            "invite-cancelled",
            text,
            peer=event.peer,
            chat_id=event.chat_id,
            reason=event.reason,
            transfer_id=transfer_id,
        )

    def _chosen(self, typed: str, command: str) -> tuple[int, Question]:
        waiting = self.waiting
        if not waiting:
            raise UsageError("nobody waits for your answer")
        if not typed and len(waiting) == 1:
            return next(iter(waiting.items()))
        for number, each in waiting.items():
            if typed == str(number):
                return number, each
        raise UsageError(
            f"nothing waits as {typed}" if typed else f"{command} which?",
            hint=f"{command} N: " + ", ".join(f"{n} {self._name(w)}" for n, w in waiting.items()),
        )

    def _name(self, question: Question) -> str:
        peer = self._teller.short(question.peer)
        if isinstance(question, Invitation):
            return f"{peer} invites you"
        return f"{question.name} from {peer}"

    def accept(self, typed: str = "") -> None:
        """The user says yes to what has the number that was typed; without one to the only one.

        Raises UsageError when nothing has that number, or several wait and none was typed.
        """
        number, waiting = self._chosen(typed, "/accept")
        if isinstance(waiting, Invitation):
            busy = self._busy(waiting.peer)
            if busy:
                self._narrator.fail(f"not now: {busy}", hint="/bye ends it, /decline refuses")
                return
            self._open(waiting)
        else:
            self._narrator.say("file-accepted", "", **_facts(waiting))
            self._spawn(self._accept_file(waiting))
        del self._asked[number]

    def decline(self, typed: str = "") -> None:
        """The user says no to it; see `accept`."""
        number, waiting = self._chosen(typed, "/decline")
        del self._asked[number]
        if not waiting.reject(603):
            self._narrator.fail("nobody waits for your answer")
        else:
            text = f"declined {self._teller.short(waiting.peer)}"
            if isinstance(waiting, Invitation):
                self._narrator.say("declined", text, peer=waiting.peer)
            else:
                self._narrator.say("declined", f"{text}: {waiting.name}", **_facts(waiting))

    def expect(self, transfer: FileTransfer) -> None:
        """A file is on its way that the user asked for, or let go on."""
        self._transfers.add(transfer)

    def file_done(self, transfer_id: str) -> None:
        """A file is there or has failed."""
        self._transfers = {each for each in self._transfers if each.transfer_id != transfer_id}

    async def settled(self) -> None:
        """Waits for the files that are coming in, but for those that the user has paused."""
        waits = (transfer.done() for transfer in self._transfers if not transfer.paused)
        await asyncio.gather(*waits, return_exceptions=True)

    def _open(self, invitation: Invitation) -> None:
        self.opening_to = invitation.peer
        self._opening = self._spawn(self._accept(invitation))

    async def _accept(self, invitation: Invitation) -> None:
        try:
            await invitation.accept()
        except AgentError as error:
            await self._unreached(invitation.peer, error)

    async def _accept_file(self, offer: FileOffer | HttpOffer) -> None:
        try:
            self._transfers.add(await offer.accept(self._directory))
        except RcsopsError as error:
            text = f"{offer.name} not received: {error}"
            if offer.pending:
                text += f"; {self._put(offer)[1]}"
            self._narrator.fail(text, hint=error.hint, transfer_id=offer.transfer_id)


def _facts(offer: FileOffer | HttpOffer) -> dict[str, object]:
    return {
        "peer": offer.peer,
        "transfer_id": offer.transfer_id,
        "name": offer.name,
        "size": offer.size,
    }
