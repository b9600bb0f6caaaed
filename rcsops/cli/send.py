"""``rcsops send``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rcsops.cli.agent_setup import AgentChoices, AgentSetup, agent_options
from rcsops.cli.chat_print import JsonPrinter, PlainPrinter
from rcsops.cli.chat_setup import open_standard_files, tap_to
from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, print_json, say
from rcsops.cli.progress import Progress
from rcsops.errors import AgentError, UsageError

if TYPE_CHECKING:
    from rcsops.operations.send import Outcome
    from rcsops.ua import events

_MAX_TEXT = 1 << 20
_MAX_RECEIVED = 1000
_TEXT_SECONDS = 60.0


@click.command()
@click.argument("sender", metavar="FROM", shell_complete=complete_user)
@click.argument("to", metavar="TO", shell_complete=complete_user)
@click.argument("text", metavar="[TEXT]", required=False)
@click.option(
    "--file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    metavar="FILE",
    help="Send this file instead of a text.",
)
@click.option(
    "--via",
    type=click.Choice(["auto", "http", "msrp"]),
    default="auto",
    help="How a file goes: by a content server, from device to device (auto: what both can).",
)
@click.option(
    "--location",
    metavar="LAT,LON",
    help="Send this place; TEXT, if there is one, is its label.",
)
@click.option(
    "--radius",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="METRES",
    help="How uncertain the place is.",
)
@click.option(
    "--wait",
    type=click.Choice(["stored", "sent", "delivered", "displayed"]),
    help="Wait until the server, the device or the person has it (stored).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help=f"Give up after so long ({_TEXT_SECONDS:g} for a text, never for a file).",
)
@click.option("--session", is_flag=True, help="Send a text in a session, also a short one.")
@agent_options
@json_option
@click.pass_obj
def send(
    context: Context,
    sender: str,
    to: str,
    text: str | None,
    file: Path | None,
    via: str,
    location: str | None,
    radius: float,
    wait: str | None,
    timeout: float | None,
    session: bool,
    choices: AgentChoices,
    as_json: bool,
) -> int:
    """Send TEXT ("-": standard input), a place or a file from user FROM to TO, and say what became
    of it.

    A text that fits goes as a message of its own, which a server keeps for one who is away; a
    longer one goes in a session and needs TO to be there. A file goes by the content server, where
    there is one, and waits there for TO; else from device to device. Chats of FROM that run
    meanwhile go on, and what others write to FROM is left to them.

    With --json the result is one object on standard output; what happens until then is on standard
    error, a JSON object a line, as `rcsops chat --json` has them.

    The exit code is 0 when it came as far as --wait says, 1 when it did not, or not within
    --timeout, 2 when the command made no sense.

    The password is the one kept by `rcsops user add`, or RCSOPS_PASSWORD, or it is asked for.
    """
    from rcsops.logs import log_to_stderr
    from rcsops.operations.chat_events import Teller
    from rcsops.operations.chat_notices import Notice
    from rcsops.operations.places import Said, typed_place
    from rcsops.operations.send import Courier
    from rcsops.operations.terminations import run_to_its_end
    from rcsops.ua import FileProgress, TextReceived

    open_standard_files()
    log_to_stderr("WARNING")
    nothing = text is None and file is None and location is None
    if nothing or (file is not None and (text is not None or location is not None)):
        raise UsageError(
            "send what?" if nothing else "a text or a file, not both",
            hint='rcsops send alex bob "hello", or rcsops send alex bob --file report.pdf',
        )
    settings = context.project.settings
    if via == "auto" and not settings.upload_url:
        via = "msrp"
    if file is not None and ((wait == "displayed" and via == "msrp") or session):
        raise UsageError(
            "of a file is known that it is delivered; --wait displayed and --session are for texts"
        )
    if radius and location is None:
        raise UsageError("--radius belongs to a place", hint="add --location LAT,LON")
    said: Said = "" if text is None else _text_of(text)
    if location is not None:
        said = typed_place(location, radius=radius, label=str(said))
    words = said if isinstance(said, str) else said.text
    setup = AgentSetup.of(context.project, sender, choices)
    teller = Teller(setup.domain, setup.server)
    received: list[Any] = []
    shown = JsonPrinter(sys.stderr) if as_json else PlainPrinter(colour=False, stream=sys.stderr)

    with (
        tap_to(choices.trace, setup.account.username) as tap,
        Progress(quiet=as_json) as progress,
    ):

        def tell(event: "events.Event") -> None:
            told = teller.tell(event, "")
            if told is None:
                return
            if isinstance(event, FileProgress) and not as_json:
                progress.show(f"sent {event.octets * 100 // max(event.total, 1)} %")
                return
            shown(Notice(*told))
            if isinstance(event, TextReceived) and len(received) < _MAX_RECEIVED:
                received.append(told[2])

        courier = Courier(
            setup.agent(tap=tap),
            to,
            teller=teller,
            tell=tell,
            seconds=timeout or (_TEXT_SECONDS if file is None else None),
            thorough=as_json,
        )
        if file is None:
            outcome = run_to_its_end(courier.text(said, wait=wait or "", session=session))
        else:
            outcome = run_to_its_end(courier.file(file, via=via, wait=wait or ""))
    if as_json:
        _print_json(setup, courier.peer, words, file, outcome, received)
        return 0 if outcome.done else 1
    if not outcome.done:
        raise AgentError(outcome.error, status=outcome.code, hint=outcome.hint)
    say(_words(outcome, teller.short(courier.peer)))
    return 0


def _text_of(argument: str) -> str:
    """The text itself, or standard input without the line end behind it."""
    octets = os.fsencode(argument)
    if argument == "-":
        octets = sys.stdin.buffer.read(_MAX_TEXT + 1)
        octets = octets.removesuffix(b"\n").removesuffix(b"\r")
    if len(octets) > _MAX_TEXT:
        raise UsageError(f"a text has at most {_MAX_TEXT} octets", hint="send it with --file")
    text = octets.decode("utf-8", "replace")
    if not text.strip():
        raise UsageError("there is nothing in the text to send")
    return text


def _words(outcome: "Outcome", peer: str) -> str:
    return {
        "stored": f"stored by the server: {peer} gets it later",
        "sent": f"sent to {peer}",
        "delivered": f"delivered to {peer}",
        "displayed": f"displayed to {peer}",
    }[outcome.status]


def _print_json(
    setup: AgentSetup,
    peer: str,
    text: str,
    file: Path | None,
    outcome: "Outcome",
    received: list[Any],
) -> None:
    what: dict[str, Any] = {"message_id": outcome.reference, "text": text}
    if file is not None:
        what = {"transfer_id": outcome.reference, "file": str(file)}
    ended = {
        "status": outcome.status,
        "done": outcome.done,
        "way": outcome.way,
        "error": outcome.error,
        "hint": outcome.hint,
        "code": outcome.code,
    }
    print_json({"from": f"sip:{setup.account}", "to": peer} | what | ended, received=received)
