"""The ladder written as Mermaid, SVG, HTML and a capture: all there, and nothing obeyed."""

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from rcsops.trace import Arrow, merge, read_trace
from rcsops.trace.capture import CaptureReader
from rcsops.trace.export_text import FORMATS, export, write_text

from .messages import ALEX, BOB_MSRP, SERVER, msrp, request, response, seen, sent

HOSTILE = '</script><script>alert(1)</script>" onload="x" & \x1b[31m\u202e %%{init}%% ;end\r'
SVG = "{http://www.w3.org/2000/svg}"


def ladder(name: str = "alex", reason: str = "OK") -> list[Arrow]:
    register = request("REGISTER", branch="1", headers=f"X: {reason}\r\n")
    return merge(
        [
            seen(0.0, name, "out", ALEX, SERVER, register),
            *sent(0.5, (name, ALEX), ("server", SERVER), register),
            *sent(0.6, ("server", SERVER), (name, ALEX), response(200, reason, "BYE", branch="1")),
            *sent(0.7, (name, ALEX), ("bob", BOB_MSRP), msrp("t1", "SEND")),
            *sent(0.8, (name, ALEX), (name, ALEX), request("OPTIONS", branch="3")),
        ]
    )


def written(arrows: list[Arrow], form: str) -> str:
    return b"".join(export(arrows, form, title="a title")).decode()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def page(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Page()
    parser.feed(text)
    return parser.tags


def test_the_formats_of_the_command_are_these() -> None:
    from rcsops.cli.trace_options import FORMATS as named

    assert named == FORMATS
    with pytest.raises(ValueError, match="unknown"):
        export([], "gif", title="")


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_ladder_is_written_as_well(form: str) -> None:
    b"".join(export([], form, title="nothing"))


def test_svg_has_an_arrow_for_each_message() -> None:
    arrows = ladder()
    picture = fromstring(written(arrows, "svg"))
    groups = [each for each in picture.iter(f"{SVG}g") if each.get("class") == "arrow"]
    assert len(groups) == len(arrows) == 5
    assert "(lost)" in "".join(groups[0].itertext())
    assert "(again)" in "".join(groups[1].itertext())
    names = [each.text for each in picture.iter(f"{SVG}text") if each.get("class") == "name"]
    assert names == ["alex", "server", "bob"]


def test_svg_has_room_for_what_a_node_sends_to_itself() -> None:
    bob = ("bob", BOB_MSRP)
    refused = response(488, "Not Acceptable Here, nor anywhere", "INVITE", branch="3")
    arrows = merge(sent(0.0, bob, bob, refused))
    picture = fromstring(written(arrows, "svg"))
    (label,) = (each for each in picture.iter(f"{SVG}text") if each.get("class") == "label")
    # As wide as the widest of the fonts that the style names.
    assert int(label.get("x")) + len(label.text) * 7.3 <= int(picture.get("width"))


@pytest.mark.parametrize("form", ["text", "mermaid", "svg", "html"])
def test_each_has_the_times_between_and_marks_what_came_again(form: str) -> None:
    """Alike: what was sent again, and what was lost, and how long after the one before."""
    text = written(ladder(), form)
    gaps = re.findall(r"\+\d+(?:\.\d)? (?:ms|s)\b", text)
    assert gaps[:4] == ["+500 ms", "+100 ms", "+100 ms", "+100 ms"]
    assert "REGISTER (lost)" in text
    assert "REGISTER (again)" in text
    if form == "html":
        # Not in the picture alone: where the message is read as well.
        assert re.search(r"<h2>[^<]*REGISTER \(again\)</h2>", text)


@pytest.mark.parametrize("width", [79, 80])
def test_a_narrow_ladder_has_the_times_between_alone(width: int) -> None:
    head = next(
        line for line in write_text(ladder(), width=width) if "alex" in line and "since" in line
    )
    assert ("seconds" in head) == (width >= 80)


def test_html_opens_each_message_without_a_script() -> None:
    arrows = ladder()
    text = written(arrows, "html")
    tags = page(text)
    links = [attrs["href"] for tag, attrs in tags if tag == "a" and attrs["href"]]
    opened = [attrs["id"] for tag, attrs in tags if tag == "section"]
    assert opened == [f"m{number}" for number in range(1, len(arrows) + 1)]
    assert {f"#{each}" for each in opened} <= set(links)
    assert all(link.startswith("#") for link in links)
    assert not {tag for tag, _ in tags} & {"script", "img", "link", "iframe", "object"}
    assert "What the headers say" in text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert f"style-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none'")


def test_html_says_what_the_credentials_have_changed() -> None:
    alex, server = ("alex", ALEX), ("server", SERVER)
    again = request("REGISTER", branch="2", cseq=2, headers="Authorization: Digest x\r\n")
    arrows = merge(
        [
            *sent(0.0, alex, server, request("REGISTER", branch="1")),
            *sent(0.1, server, alex, response(401, "No", "REGISTER", branch="1")),
            *sent(0.2, alex, server, again),
        ]
    )
    text = written(arrows, "html")
    assert text.count("What is different from") == 1
    assert '<span class="removed">- CSeq: 1 REGISTER</span>' in text
    assert '<span class="added">+ Authorization: Digest x</span>' in text


@pytest.mark.parametrize("form", ["svg", "html", "mermaid", "text"])
def test_nothing_hostile_gets_through(form: str) -> None:
    text = written(ladder(name=HOSTILE, reason=HOSTILE), form)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert form == "text" or "<script" not in text
    if form in ("svg", "html"):
        assert not any(name.startswith("on") for _, attrs in page(text) for name in attrs)
    if form == "svg":
        fromstring(text)
    if form == "mermaid":
        lines = text.splitlines()
        assert lines[0] == "sequenceDiagram"
        shape = (
            r"    (participant n\d+ as |n\d+-{1,2}(>>|x)n\d+: )[^;<>%`\"{}#]*(#\d+;[^;<>%`\"{}#]*)*"
        )
        assert [line for line in lines[1:] if not re.fullmatch(shape, line)] == []


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_words_make_a_picture(name: str, reason: str) -> None:
    arrows = ladder(name=name, reason=reason)
    fromstring(written(arrows, "svg"))
    assert sum(tag == "section" for tag, _ in page(written(arrows, "html"))) == len(arrows)
    assert written(arrows, "mermaid").count("\n    n") == len(arrows)


def test_a_trace_is_read_again(tmp_path: Path) -> None:
    arrows = ladder()
    file = tmp_path / "again.jsonl"
    file.write_text(written(arrows, "trace"))
    again = merge(read_trace(file))
    assert [each.data for each in again] == [each.data for each in arrows]
    assert not any(each.lost for each in again)
    assert again[0].source_address == ALEX


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "ws", "wss"])
@pytest.mark.parametrize(
    "hosts", [("127.0.0.1", "10.0.0.1"), ("::1", "127.0.0.1"), ("a", "fe80::1%1")]
)
def test_a_capture_is_read_again(tmp_path: Path, transport: str, hosts: tuple[str, str]) -> None:
    ends = {
        "source_address": (hosts[0], 5060),
        "target_address": (hosts[1], 70000 if transport == "tls" else 5070),
    }
    arrows = [
        dataclasses.replace(each, transport=transport, **ends)
        for each in ladder()
        if transport == "tcp" or each.protocol == "sip"
    ]
    long = dataclasses.replace(
        arrows[-1],
        data=request("MESSAGE", branch="9", body="x" * 60_000),
        protocol="sip",
    )
    file = tmp_path / "ladder.pcapng"
    file.write_bytes(b"".join(export([*arrows, long], "pcap", title="")))
    entries = list(CaptureReader(file).read())
    assert [each.data for each in entries] == [each.data for each in [*arrows, long]]
    assert {each.transport for each in entries} == {
        "tls" if transport in ("ws", "wss") else transport
    }
    assert [round(each.time, 5) for each in entries[:-1]] == [
        round(each.timestamp, 5) for each in arrows
    ]
