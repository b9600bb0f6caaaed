"""A history as one HTML file that needs nothing else: no script, no picture, no network."""

from collections.abc import Iterable
from datetime import date
from html import escape
from typing import TextIO

from rcsops.operations.history_sessions import Entry, Mark
from rcsops.operations.history_text import Shown, shown
from rcsops.text import visible

# The colours are the reader's own: system colours follow light and dark by themselves.
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.4 system-ui, sans-serif; max-width: 50rem; margin: 0 auto; padding: 1rem;
  background: Canvas; color: CanvasText; }
h1 { font-size: 1.3rem; }
h2 { font-size: 1rem; text-align: center; margin: 2rem 0 1rem; }
article { margin: .5rem 0; padding: .5rem .8rem; border: 1px solid GrayText; border-radius: .6rem;
  width: fit-content; max-width: 85%; }
article.out { margin-left: auto; border-style: dashed; }
article.failed { border-color: #c33; }
header { font-size: .85rem; }
footer { font-size: .85rem; text-align: center; margin: .8rem 0; color: GrayText; }
p { margin: .3rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
"""
# Even a browser that finds a fault in our escaping runs and fetches nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def write_html(messages: Iterable[Entry], stream: TextIO, *, title: str, domain: str) -> int:
    """Writes one document, an article for each message; returns how many."""
    name = escape(visible(title))
    stream.write(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    )
    count, day = 0, date.min
    for message in messages:
        if isinstance(message, Mark):
            stream.write(f"<footer>{escape(message.line)}</footer>\n")
            continue
        count += 1
        words = shown(message, domain)
        if words.time.date() != day:
            day = words.time.date()
            stream.write(f"<h2>{day}</h2>\n")
        stream.write(_article(words, failed=message.status == "failed"))
    stream.write("</body>\n</html>\n")
    return count


def _article(words: Shown, *, failed: bool) -> str:
    kind = ("in" if words.incoming else "out") + (" failed" if failed else "")
    facts = [f'<b dir="auto">{escape(words.peer)}</b>']
    if words.written:
        facts.append(f"written {words.written}")
    if words.state:
        title = escape(words.times)
        facts.append(f'<span class="state" title="{title}">{escape(words.state)}</span>')
    time = f'<time datetime="{words.time.isoformat()}">{words.time:%H:%M:%S}</time>'
    way = "from" if words.incoming else "to"
    text = escape("\n".join(words.lines))
    return (
        f'<article class="{kind}"><header>{time} {way} {" · ".join(facts)}</header>\n'
        f'<p dir="auto">{text}</p></article>\n'
    )
