"""Whether the wire shows what the demo promises: read from the ladder, after the event."""

from collections.abc import Callable, Iterator, Sequence

from rcsops.operations.demo_result import DemoResult
from rcsops.trace import Arrow

SERVER = "server"


def find_problems(result: DemoResult, caller: str, callee: str) -> list[str]:
    """What should have happened and did not, each as a sentence; none when all is well.

    ``caller`` and ``callee`` are the nodes of the ladder that invited and were invited.
    """
    ladder = result.ladder
    return [
        *_registrations(ladder, (caller, callee)),
        *_session(ladder, caller, callee),
        *_secrets(ladder, (caller, callee)),
        *_direct(ladder, (caller, callee)),
        *_contents(result),
    ]


def _has(
    ladder: Sequence[Arrow],
    source: str,
    target: str,
    *,
    method: str = "",
    status: int = 0,
    to: str = "",
    where: Callable[[Arrow], bool] | None = None,
) -> bool:
    """Whether a SIP message went that way: a request, or a response to a request ``to``."""
    return any(
        arrow.protocol == "sip"
        and (arrow.source, arrow.target) == (source, target)
        and (not method or arrow.summary.method == method)
        and (not status or arrow.summary.status == status)
        and (not to or arrow.summary.cseq_method == to)
        and (where is None or where(arrow))
        for arrow in ladder
    )


def _proves(arrow: Arrow) -> bool:
    return b"uthorization: Digest" in arrow.data and not _removes(arrow)


def _registrations(ladder: Sequence[Arrow], agents: Sequence[str]) -> Iterator[str]:
    for agent in agents:
        if not _has(ladder, SERVER, agent, status=401, to="REGISTER"):
            yield f"{agent}'s first REGISTER was not challenged (401)"
        if not _has(ladder, agent, SERVER, method="REGISTER", where=_proves):
            yield f"{agent} sent no REGISTER with digest credentials"
        if not _has(ladder, SERVER, agent, status=200, to="REGISTER"):
            yield f"{agent} was not registered (200)"
        if not _has(ladder, agent, SERVER, method="REGISTER", where=_removes):
            yield f"{agent} did not unregister"


def _removes(arrow: Arrow) -> bool:
    return "remove" in arrow.label


def _session(ladder: Sequence[Arrow], caller: str, callee: str) -> Iterator[str]:
    if not _has(ladder, caller, SERVER, method="INVITE"):
        yield f"{caller} sent no INVITE"
    if not _has(ladder, SERVER, callee, method="INVITE"):
        yield f"the server passed no INVITE on to {callee}"
    for status, word in ((180, "ring"), (200, "accept")):
        if not _has(ladder, callee, SERVER, status=status, to="INVITE"):
            yield f"{callee} did not {word} ({status})"
        if not _has(ladder, SERVER, caller, status=status, to="INVITE"):
            yield f"the {status} did not come back to {caller}"
    if not _has(ladder, caller, SERVER, method="ACK"):
        yield f"{caller} did not acknowledge (ACK)"
    if not _has(ladder, SERVER, callee, method="ACK"):
        yield f"the ACK did not come to {callee}"
    ends = [(caller, callee), (callee, caller)]
    if not any(_has(ladder, one, SERVER, method="BYE") for one, _ in ends):
        yield "nobody ended the session (BYE)"
    elif not any(
        _has(ladder, one, SERVER, method="BYE")
        and _has(ladder, SERVER, other, method="BYE")
        and _has(ladder, other, SERVER, status=200, to="BYE")
        and _has(ladder, SERVER, one, status=200, to="BYE")
        for one, other in ends
    ):
        yield "the BYE did not get through the proxy, or was not answered with 200"


def _secrets(ladder: Sequence[Arrow], agents: Sequence[str]) -> Iterator[str]:
    for agent in agents:
        leaked = {
            arrow.summary.method
            for arrow in ladder
            if (arrow.source, arrow.target) == (SERVER, agent) and b"uthorization:" in arrow.data
        }
        if leaked:
            methods = ", ".join(sorted(map(str, leaked)))
            yield f"the server passed the peer's credentials on to {agent} ({methods})"


def _direct(ladder: Sequence[Arrow], agents: Sequence[str]) -> Iterator[str]:
    frames = [arrow for arrow in ladder if arrow.protocol == "msrp"]
    if not frames:
        yield "no MSRP was spoken"
    strangers = {name for arrow in frames for name in (arrow.source, arrow.target)} - set(agents)
    if strangers:
        yield f"MSRP did not go directly: it passed {', '.join(sorted(strangers))}"
    refused = {arrow.summary.label for arrow in frames if (arrow.summary.status or 200) != 200}
    if refused:
        yield f"MSRP was refused: {', '.join(sorted(refused))}"


def _contents(result: DemoResult) -> Iterator[str]:
    for user in result.users:
        if not any(message.sender == user for message in result.messages):
            yield f"{user} wrote nothing"
    for message in result.messages:
        way = f"{message.text!r} from {message.sender}"
        if not message.received:
            yield f"{way} did not come to {message.recipient}"
        if message.status != "delivered":
            yield f"{way} is {message.status}, not delivered"
    if not result.files:
        yield "no file was sent"
    for file in result.files:
        if not file.intact:
            yield f"the file {file.name} did not come to {file.recipient} as it was sent"
        elif file.status != "sent":
            yield f"{file.sender} was not told that {file.name} came through"
