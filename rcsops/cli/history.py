"""``rcsops history``."""

import io
import shutil
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rcsops.cli.context import Context, complete_user
from rcsops.cli.output import json_option, note, print_json, print_table, say
from rcsops.errors import RcsopsError, UsageError

if TYPE_CHECKING:
    from rcsops.cli.progress import Progress
    from rcsops.operations.history import HistoryMessage, HistoryReader, Wanted
    from rcsops.operations.history_sessions import Entry
    from rcsops.operations.names import UserName

_PAGE = 50
_SHOWN_USERS = 10
_INDENT = "    "
_NARROWEST = 20


def complete_peer(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """Completes the name of somebody whom USER has messages with."""
    from rcsops.operations.history import reading_history
    from rcsops.operations.names import parse_user
    from rcsops.operations.wording import short_name

    try:
        project = (context.find_object(Context) or Context()).project
        domain, others = project.settings.all_domains
        user = parse_user(str(context.params.get("user") or ""), domain, others)
        with reading_history(project, user) as history:
            peers = [short_name(each.peer, user.domain) for each in history.conversations()]
    except RcsopsError:
        return []
    # What a peer calls himself must not reach the shell as anything but a word.
    return [peer for peer in peers if peer.startswith(incomplete) and peer.isprintable()]


@click.command()
@click.argument("user", metavar="USER", shell_complete=complete_user)
@click.argument("peer", metavar="[PEER]", required=False, shell_complete=complete_peer)
@click.option("--search", metavar="TEXT", default="", help="Only with TEXT in it, in any case.")
@click.option("--since", metavar="TIME", help="Only those since TIME: 2026-11-26, 14:30 of it "
              "as 2026-11-26T14:30, today, yesterday, 30m, 2h, 7d, 4w.")  # fmt: skip
@click.option("--until", metavar="TIME", help="Only those before TIME; a day counts to its end.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help=f"The last N ({_PAGE}; export: all)."
)
@click.option("--all", "everything", is_flag=True, help="All, however many there are.")
@click.option("--times", is_flag=True, help="When each came to each of its states.")
@click.option("--sessions", is_flag=True, help="When sessions began, and how they ended, as well.")
@click.option("--peers", is_flag=True, help="Whom there are messages with, not the messages.")
@click.option(
    "--export",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    help="Write them to a new FILE (- for stdout): .json, .txt or .html.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "txt", "html"]),
    help="The format of --export, whatever FILE is called.",
)
@click.option("--domain", help="SIP domain of USER (the project's).")
@json_option
@click.pass_obj
def history(
    context: Context,
    user: str,
    peer: str | None,
    search: str,
    since: str | None,
    until: str | None,
    limit: int | None,
    everything: bool,
    times: bool,
    sessions: bool,
    peers: bool,
    file: Path | None,
    form: str | None,
    domain: str | None,
    as_json: bool,
) -> int:
    """Show the messages that USER's agent has kept on this machine (with PEER), the newest last.

    Each has the time at which it was stored, who it is from or to, and what became of it. A
    running `rcsops chat USER` is not disturbed.
    """
    from rcsops.operations.history import Wanted, moment, peer_address, reading_history
    from rcsops.operations.names import parse_user

    if peers and (peer or search or since or until or limit or file or times or sessions):
        raise UsageError("--peers shows everybody, and goes with --domain and --json alone")
    if everything and limit:
        raise UsageError("--all and --limit exclude each other")
    if sessions and search:
        raise UsageError("--sessions and --search exclude each other: sessions have no text")
    if form and file is None:
        raise UsageError("--format needs --export", hint="add --export FILE, or --export -")
    settings = context.project.settings
    account = parse_user(user, (domain or settings.domain).lower(), settings.domains)
    now = datetime.now(UTC)
    wanted = Wanted(
        peer=None if peer is None else peer_address(peer, account.domain),
        text=search,
        since=None if since is None else moment(since, now=now),
        until=None if until is None else moment(until, now=now, end=True),
    )
    with reading_history(context.project, account) as kept:
        if file is not None:
            _export(
                kept,
                account,
                wanted,
                file,
                form,
                limit,
                times=times,
                sessions=sessions,
                as_json=as_json,
            )
        elif peers:
            _show_peers(kept, account, as_json=as_json)
        else:
            count = None if everything else limit or _PAGE
            _show(kept, account, wanted, count, times=times, sessions=sessions, as_json=as_json)
        if not kept.exists and not as_json:
            _say_none(context, account)
    return 0


def _show(
    kept: "HistoryReader",
    account: "UserName",
    wanted: "Wanted",
    limit: int | None,
    *,
    times: bool,
    sessions: bool,
    as_json: bool,
) -> None:
    from rcsops.operations.history_export import record
    from rcsops.operations.history_sessions import session_record, with_sessions

    messages = kept.messages(wanted, limit=limit)
    if as_json:
        records = [record(each) for each in messages]
        total = kept.count(wanted)
        more = {"sessions": [*map(session_record, kept.sessions(wanted))]} if sessions else {}
        print_json({"user": str(account), "messages": records, "total": total, **more})
        return
    entries: Iterable[Entry] = messages
    if sessions:
        had = kept.sessions(wanted)
        partly = limit is not None and kept.count(wanted) > limit
        entries = with_sessions(messages, had, account.domain, from_first=partly)
    number = _print(entries, account.domain, times=times)
    if limit is None or number < limit:
        if not number and kept.exists:
            note("no such message" if any(wanted) else "no messages")
        return
    total = kept.count(wanted)
    if number < total:
        note(f"the last {number} of {total}; --all shows them all, --until TIME those before")


def _print(messages: "Iterable[Entry]", domain: str, *, times: bool) -> int:
    from rcsops.cli.chat_print import wrapped
    from rcsops.operations.history_sessions import Mark
    from rcsops.operations.history_text import shown

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that has no such letter shows something else instead.
        sys.stdout.reconfigure(errors="replace")
    # On a terminal a long line is broken here, so that its rest is set in, too.
    room = shutil.get_terminal_size().columns - len(_INDENT) if sys.stdout.isatty() else 0
    number = 0
    for message in messages:
        if isinstance(message, Mark):
            # Dim on a terminal, plain elsewhere.
            click.echo(click.style(message.line, dim=True))
            continue
        number += 1
        words = shown(message, domain)
        indent = ""
        for line in (words.head(times=times) + words.lines[0], *words.lines[1:]):
            for part in wrapped(line, max(room, _NARROWEST)) if room else (line,):
                sys.stdout.write(f"{indent}{part}\n")
                indent = _INDENT
    return number


def _show_peers(kept: "HistoryReader", account: "UserName", *, as_json: bool) -> None:
    from rcsops.operations.history import local_time
    from rcsops.operations.wording import short_name

    found = kept.conversations()
    if as_json:
        peers = [
            {
                "peer": each.peer,
                "messages": each.messages,
                "last_at": local_time(each.last_at).isoformat(timespec="milliseconds"),
            }
            for each in found
        ]
        print_json({"user": str(account), "peers": peers})
    elif found:
        print_table(
            ["peer", "messages", "last"],
            [
                (
                    short_name(each.peer, account.domain),
                    each.messages,
                    f"{local_time(each.last_at):%Y-%m-%d %H:%M:%S}",
                )
                for each in found
            ],
        )
    elif kept.exists:
        note("no messages")


def _export(
    kept: "HistoryReader",
    account: "UserName",
    wanted: "Wanted",
    file: Path,
    form: str | None,
    limit: int | None,
    *,
    times: bool,
    sessions: bool,
    as_json: bool,
) -> None:
    from rcsops.cli.progress import Progress
    from rcsops.errors import DatabaseError
    from rcsops.operations.history_export import format_of, write_history
    from rcsops.operations.private_output import new_private_file
    from rcsops.operations.wording import short_name

    to_stdout = str(file) == "-"
    if to_stdout and as_json:
        raise UsageError("--json needs a FILE", hint="for JSON on stdout: --json without --export")
    kind = form or ("txt" if to_stdout else format_of(file))
    if not kept.exists:
        raise DatabaseError(f"no message of {account} is kept here, so there is nothing to export")
    peer = f" with {short_name(wanted.peer, account.domain)}" if wanted.peer else ""
    title = f"Messages of {account}{peer} (times: {datetime.now().astimezone():UTC%z})"
    messages = kept.messages(wanted, limit=limit)
    had = kept.sessions(wanted) if sessions else None
    partly = limit is not None and kept.count(wanted) > limit
    if to_stdout:
        write_history(messages, sys.stdout, kind, user=str(account), domain=account.domain,
                      title=title, times=times, sessions=had,
                      from_first=partly)  # fmt: skip
        return
    with Progress(quiet=as_json) as progress, new_private_file(file) as stream:
        number = write_history(
            _counted(messages, progress),
            stream,
            kind,
            user=str(account),
            domain=account.domain,
            title=title,
            times=times,
            sessions=had,
            from_first=partly,
        )
    if as_json:
        print_json({"path": str(file), "format": kind, "messages": number})
    else:
        say(f"wrote {number} message{'' if number == 1 else 's'} to {file}")


def _counted(
    messages: "Iterable[HistoryMessage]", progress: "Progress"
) -> "Iterator[HistoryMessage]":
    for number, message in enumerate(messages, 1):
        progress.count("exported", number)
        yield message


def _say_none(context: Context, account: "UserName") -> None:
    from rcsops.operations.history import kept_histories
    from rcsops.operations.wording import short_name

    note(f"no message of {account} is kept here yet")
    others = [short_name(each, account.domain) for each in kept_histories(context.project)]
    if others:
        note(f"there are messages of {', '.join(others[:_SHOWN_USERS])}")
