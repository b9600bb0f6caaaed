"""An INVITE of ours for a session of any kind, until it has its answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rcsops.errors import AgentError, InviteError
from rcsops.sip import Response, Target
from rcsops.ua import events
from rcsops.ua.call import Call
from rcsops.ua.redirection import Elsewhere

if TYPE_CHECKING:
    from rcsops.ua.core import AgentCore

__all__ = ["ProgressCallback", "dial"]

ProgressCallback = Callable[[events.Event], None]


async def dial(
    agent: "AgentCore",
    call: Call,
    targets: tuple[Target, ...],
    peer: str,
    on_progress: ProgressCallback | None,
    *,
    on_sent: Callable[[], None] | None = None,
) -> Response:
    """Dials, and again where a refusal says how or where to; see ``Call.dial``."""

    def progress(status: int, response: Response) -> None:
        if on_progress is None or status >= 200:
            return
        event: events.Event
        if status == 100:
            event = events.Trying(peer, call.call_id)
        else:
            event = events.Ringing(peer, call.call_id, status)
        on_progress(event)
        agent.publish(event)

    deadline = call.now + agent.options.invite_seconds
    elsewhere = Elsewhere(call.request.uri)
    while True:
        try:
            return await call.dial(
                targets,
                digest=agent.digest,
                deadline=deadline,
                on_progress=progress,
                on_sent=on_sent,
            )
        except InviteError as error:
            on_sent = None
            final = call.final
            if final is None or call.now >= deadline:
                raise
            if final.status == 422 and call.refresh.timer.receive_422(final):
                call.try_again()
                continue
            uri = elsewhere.next(final)
            if uri is None:
                raise
            try:
                targets = await agent.targets_for(uri)
            except AgentError:
                raise error from None
            call.try_again(uri)
