"""The ladder as one HTML page that needs nothing else: a click on an arrow opens its message.

There is no script in it. Which message is open is the part of the address behind ``#``.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape

from rcsops.text import visible
from rcsops.trace.compare import Difference, compare
from rcsops.trace.explain import Explained, ExplainedHeader, explain, explain_headers
from rcsops.trace.export_svg import STYLE, write_svg
from rcsops.trace.highlight import highlight
from rcsops.trace.ladder import Arrow

_STYLE = (
    STYLE
    + """
:root { color-scheme: light dark; --line: #d1d9e0; --dim: #656d76; --page: #ffffff; --soft:
  #f6f8fa;
  --text: #1f2328; --name: #0550ae; --method: #cf222e; --string: #0a3069; --number: #0550ae;
  --tag: #116329;
  --param: #953800; --mark: #fff8c5; --gone: #ffebe9; --new: #dafbe1; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --dim: #9198a1; --page: #0d1117;
  --soft: #151b23;
  --text: #e6edf3; --name: #79c0ff; --method: #ff7b72; --string: #a5d6ff; --number: #79c0ff;
  --tag: #7ee787;
  --param: #ffa657; --mark: #373a1c; --gone: #442022; --new: #12301f; } }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; background: var(--page); color:
  var(--text);
  display: grid; grid-template-columns: minmax(24rem, max-content) minmax(24rem, 1fr); height:
  100vh; }
.ladder, .reader { overflow: auto; min-width: 0; } .ladder { max-width: 62vw; }
.reader { border-left: 1px solid var(--line); padding: 0 1.2rem 2rem; }
h1 { font-size: 1.1rem; margin: .8rem 1rem .2rem; } h2 { font-size: 1.05rem; margin: 1rem 0
  .3rem; }
h3 { font-size: .95rem; margin: 1.1rem 0 .3rem; } .facts, .hint, .rfc { color: var(--dim);
  font-size: .85rem; }
.ladder .facts { margin: 0 1rem .5rem; } .hint { margin-top: 2rem; }
section.message { display: none; } section.message:target { display: block; }
.reader:has(section.message:target) .hint { display: none; }
.arrow a:hover .row, .arrow a:focus .row { fill: var(--mark); opacity: .5; } .arrow a { cursor:
  pointer; }
nav { position: sticky; top: 0; background: var(--page); padding: .5rem 0; border-bottom: 1px
  solid var(--line); }
nav a, p a { color: var(--name); } nav a { margin-right: 1rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding:
  .7rem .9rem; overflow: auto;
  font: 12.5px/1.45 ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space:
  pre-wrap;
  overflow-wrap: anywhere; }
.method, .status { color: var(--method); font-weight: 600; } .name { color: var(--name); }
.uri, .string { color: var(--string); } .number { color: var(--number); } .tag { color:
  var(--tag); }
.parameter { color: var(--param); } .version, .end { color: var(--dim); }
.removed { background: var(--gone); } .added { background: var(--new); }
dl { margin: 0; } dt { font-weight: 600; margin-top: .6rem; overflow-wrap: anywhere; } dd {
  margin: 0; }
dt code { font-weight: 400; color: var(--dim); }
@media (max-width: 60rem) { body { display: block; height: auto; } .ladder { max-width: none; }
  .reader { border-left: 0; border-top: 1px solid var(--line); } }
"""
)
_LONGEST_VALUE = 100
_LONGEST_BODY = 65536


def write_html(arrows: Sequence[Arrow], *, title: str) -> Iterator[str]:
    """The page in pieces; everything that was on the wire is escaped, and nothing is fetched."""
    name = escape(visible(title))
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode("ascii")
    # Even a browser that finds a fault in our escaping runs and fetches nothing.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<div class="ladder">\n<h1>{name}</h1>\n<p class="facts">{_facts(arrows)}</p>\n'
    )
    yield from write_svg(arrows, link=lambda number: f"#m{number + 1}", style=False)
    yield '</div>\n<div class="reader">\n'
    yield '<p class="hint">Click an arrow to read its message and what it does.</p>\n'
    told = explain(arrows)
    for number, (arrow, explained) in enumerate(zip(arrows, told, strict=True)):
        yield from _message(number, arrow, explained, arrows)
    yield "</div>\n</body>\n</html>\n"


def _facts(arrows: Sequence[Arrow]) -> str:
    if not arrows:
        return "no messages"
    sip = sum(arrow.protocol == "sip" for arrow in arrows)
    begun = datetime.fromtimestamp(arrows[0].timestamp, UTC)
    seconds = arrows[-1].time
    return (
        f"{sip} SIP and {len(arrows) - sip} MSRP messages in {seconds:.3f} s, "
        f"from {begun:%Y-%m-%d %H:%M:%S} UTC"
    )


def _message(
    number: int, arrow: Arrow, explained: Explained, arrows: Sequence[Arrow]
) -> Iterator[str]:
    yield f'<section class="message" id="m{number + 1}">\n<nav>'
    if number:
        yield f'<a href="#m{number}">← before</a>'
    if number + 1 < len(arrows):
        yield f'<a href="#m{number + 2}">next →</a>'
    ends = f"{_shown(arrow.source)} → {_shown(arrow.target)}"
    yield f"{number + 1} of {len(arrows)}</nav>\n<h2>{ends}: {_shown(arrow.marked_label)}</h2>\n"
    yield f'<p class="facts">{" · ".join(_circumstances(arrow, explained))}</p>\n'
    yield f'<p class="meaning">{_shown(explained.text)}</p>\n'
    if explained.answers is not None:
        yield f"<p>It answers {_link(explained.answers, arrows)}.</p>\n"
    yield '<pre class="raw">'
    for line in highlight(arrow.data[:_LONGEST_BODY]):
        yield "".join(_piece(text, kind) for text, kind in line) + "\n"
    left = len(arrow.data) - _LONGEST_BODY
    yield f"</pre>\n<p class='facts'>{left} more octets</p>\n" if left > 0 else "</pre>\n"
    if explained.repeats is not None:
        yield f"<p>It repeats {_link(explained.repeats, arrows)}.</p>\n"
    elif explained.follows is not None:
        yield from _comparison(explained.follows, arrow, arrows)
    headers = explain_headers(arrow.protocol, arrow.data)
    if headers:
        yield "<h3>What the headers say</h3>\n<dl>\n"
        yield from map(_header, headers)
        yield "</dl>\n"
    yield "</section>\n"


def _shown(text: str) -> str:
    return escape(visible(text))


def _piece(text: str, kind: str) -> str:
    shown = escape(visible(text, keep="\t"))
    return shown if kind == "text" else f'<span class="{kind}">{shown}</span>'


def _link(number: int, arrows: Sequence[Arrow]) -> str:
    return (
        f'<a href="#m{number + 1}">message {number + 1}, {_shown(arrows[number].marked_label)}</a>'
    )


def _circumstances(arrow: Arrow, explained: Explained) -> Iterator[str]:
    yield f"{arrow.time:.6f} s"
    if explained.waited is not None:
        yield f"{explained.waited * 1000:.1f} ms after the one before it in the same call"
    yield f"{arrow.protocol.upper()} over {_shown(arrow.transport)}"
    (host, port), (other, other_port) = arrow.source_address, arrow.target_address
    yield f"{_shown(host)}:{port} → {_shown(other)}:{other_port}"
    yield f"{len(arrow.data)} octets"


def _comparison(number: int, arrow: Arrow, arrows: Sequence[Arrow]) -> Iterator[str]:
    earlier = arrows[number]
    if earlier.protocol != arrow.protocol:
        return
    differences = compare(arrow.protocol, earlier.data, arrow.data)
    yield f"<h3>What is different from {_link(number, arrows)}</h3>\n<pre>"
    yield "".join(map(_difference, (each for each in differences if each.kind != "same")))
    yield "</pre>\n"


def _difference(difference: Difference) -> str:
    name = f"{_shown(difference.name)}: " if difference.name else ""
    lines = []
    if difference.kind != "added":
        lines.append(f'<span class="removed">- {name}{_shown(difference.first)}</span>\n')
    if difference.kind != "removed":
        lines.append(f'<span class="added">+ {name}{_shown(difference.second)}</span>\n')
    return "".join(lines)


def _header(header: ExplainedHeader) -> str:
    value = visible(header.value)
    if len(value) > _LONGEST_VALUE:
        value = value[:_LONGEST_VALUE] + "…"
    return (
        f"<dt>{_shown(header.name)} <code>{escape(value)}</code></dt>\n"
        f'<dd>{_shown(header.text)} <span class="rfc">{_shown(header.rfc)}</span></dd>\n'
    )
