"""What is read by one expression, since nearly everybody writes it so, says what it says to the
general parser: IMDN documents of the plain kind, and 200s to SENDs."""

import itertools
from collections.abc import Callable

from hypothesis import example, given, settings
from hypothesis import strategies as st

from rcsops.errors import CpimParseError, MsrpParseError
from rcsops.msrp import FrameParser, Response
from rcsops.rcs.imdn import STATUSES, ImdnReport, make_imdn, parse_imdn

# --- IMDN ------------------------------------------------------------------------------------

# Blanks behind a document say nothing, and one of that size is always read by the XML parser.
PADDING = b" " * 1100


def said(data: bytes) -> ImdnReport | None:
    """None for a document that is refused."""
    try:
        return parse_imdn(data)
    except CpimParseError:
        return None


words = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F), max_size=12)
blanks = st.sampled_from(["", "\r\n", "\n", " \t", "\u00a0", "\x0b", "<!-- no -->", "x"])
kinds = st.sampled_from([*STATUSES, "interworking", "Delivery", ""])
statuses = st.sampled_from(
    [*sorted({each for some in STATUSES.values() for each in some}), "Delivered", "d:elivered", ""]
)
declarations = st.sampled_from(
    [
        '<?xml version="1.0" encoding="UTF-8"?>',
        "<?xml version='1.0' encoding='UTF-8'?>",
        '<?xml version="1.0" encoding="ISO-8859-1"?>',
        '<?xml version="1.1" encoding="UTF-8"?>',
        "",
    ]
)
roots = st.sampled_from(
    [
        '<imdn xmlns="urn:ietf:params:xml:ns:imdn">',
        '<imdn xmlns="urn:ietf:params:xml:ns:imdN">',
        '<imdn xmlns="urn:ietf:params:xml:ns:imdn" >',
        "<imdn>",
        '<!DOCTYPE imdn><imdn xmlns="urn:ietf:params:xml:ns:imdn">',
    ]
)
escapes = st.sampled_from(["{}", "&lt;{}", "&#65;{}", "&amp;amp;{}", "{}]]>", "<!--{}-->", "{}&"])


def differing(draw: st.DrawFn, places: int) -> Callable[[str, st.SearchStrategy[str]], str]:
    """The usual at each place but for two at most, where it is one of the others."""
    odd = draw(st.sets(st.integers(0, places - 1), max_size=2))
    numbers = itertools.count()
    return lambda usual, others: draw(others) if next(numbers) in odd else usual


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Plain ones, and those that differ from them in one or a few places."""

    mostly = differing(draw, 23)
    gap = [mostly("\r\n", blanks) for _ in range(6)]
    kind = mostly("delivery", kinds)
    end = mostly(kind, kinds)
    status = mostly("delivered" if kind == "delivery" else "displayed", statuses)
    message_id = mostly("{}", escapes).format(mostly("Msg-1.a@b", words))
    date = mostly("{}", escapes).format(mostly("2026-11-26T01:02:03.004Z", words))
    parts = [
        mostly('<?xml version="1.0" encoding="UTF-8"?>', declarations),
        gap[0],
        mostly('<imdn xmlns="urn:ietf:params:xml:ns:imdn">', roots),
        gap[1],
        f"<message-id>{message_id}</message-id>",
        gap[2],
        f"<datetime>{date}</datetime>",
        gap[3],
        f"<{kind}-notification>",
        mostly("", blanks),
        f"<status>{mostly('', blanks)}<{status}/>{mostly('', blanks)}</status>",
        mostly("", blanks),
        f"</{end}-notification>",
        gap[4],
        mostly("", st.sampled_from(["<subject>s</subject>", "<recipient-uri>x</recipient-uri>"])),
        "</imdn>",
        gap[5],
    ]
    lacks = mostly("", st.sampled_from([*map(str, range(len(parts)))]))
    if lacks:
        del parts[int(lacks)]
    data = "".join(parts).encode(mostly("utf-8", st.just("latin-1")), "replace")
    if mostly("", st.just("hostile")):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.binary(max_size=3)) + data[place + 1 :]
    return data


@settings(max_examples=400)
@given(documents())
@example(make_imdn(ImdnReport("a]]b", "delivery", "delivered", "")))
def test_a_notification_says_the_same_by_either_way(data: bytes) -> None:
    assert said(data) == said(data + PADDING)


ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x2FFF), min_size=1, max_size=40)


@given(
    ids,
    st.sampled_from([(kind, each) for kind, some in STATUSES.items() for each in some]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=30),
)
def test_what_we_write_is_read_the_same_by_either_way(
    message_id: str, what: tuple[str, str], date_time: str
) -> None:
    report = ImdnReport(message_id.strip() or "x", *what, date_time)
    data = make_imdn(report)
    assert said(data) == said(data + PADDING) == report


# --- MSRP ------------------------------------------------------------------------------------


def read(pieces: list[bytes]) -> list[object]:
    """The frames, and at last "refused" if what came is no MSRP; octets that are left over count
    as what they begin."""
    parser = FrameParser()
    found: list[object] = []
    try:
        for piece in pieces:
            parser.receive_data(piece)
            while (event := parser.next_event()) is not None:
                if isinstance(event, Response):
                    found.append((bytes(event), event.wire_head, repr(event.headers)))
                found.append(event)
    except MsrpParseError:
        found.append("refused")
        return found
    found.append(parser.in_frame)
    return found


tokens = st.text("aZ09.-+%=", min_size=3, max_size=33)
PATH = "msrp://a.example:7654/x;tcp"
paths = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7F), max_size=20),
    st.just("msrp://a.example/é;tcp"),
    st.just("m" * 9000),
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """200s of the plain kind, and those that differ from them in one or a few places."""

    mostly = differing(draw, 10)
    key = mostly("tr4nsAct", tokens)
    end = mostly("\r\n", st.sampled_from(["\n", "\r", "\r\n\r\n", " \r\n"]))
    first = mostly("To-Path", st.sampled_from(["to-path", "From-Path", "Status", "To-Path "]))
    second = mostly("From-Path", st.sampled_from(["FROM-PATH", "To-Path", "X"]))
    status = mostly("200 OK", st.sampled_from(["200", "200 ok", "200  OK", "403 No", "200 OK "]))
    flag = mostly("$", st.sampled_from(["+", "#", "", "$$"]))
    more = mostly("", st.sampled_from(["Message-ID: 1\r\n", "\r\n", "\r\nbody"]))
    return (
        f"MSRP {key} {status}\r\n{first}: {mostly(PATH, paths)}{end}"
        f"{second}: {mostly(PATH, paths)}\r\n{more}"
        f"-------{mostly(key, tokens)}{flag}\r\n"
    ).encode()


@settings(max_examples=400)
@given(st.lists(answers(), min_size=1, max_size=3).map(b"".join))
def test_an_answer_is_the_same_whole_and_octet_by_octet(data: bytes) -> None:
    """Only one that has come whole is read by one expression."""
    assert read([data]) == read([data[i : i + 1] for i in range(len(data))])
