"""The demo's checks find whatever is missing from the wire."""

from collections.abc import Callable

import pytest

from rcsops.operations.demo_checks import find_problems
from rcsops.operations.demo_result import DemoFile, DemoMessage, DemoResult
from rcsops.trace import Arrow, Summary, summarize

ALEX, SERVER, BOB = "alex", "server", "bob"
DIGEST = b"REGISTER sip:x SIP/2.0\r\nAuthorization: Digest x\r\n\r\n"
REMOVAL = DIGEST.replace(b"\r\n", b"\r\nExpires: 0\r\n", 1)


def arrow(
    source: str,
    target: str,
    *,
    method: str | None = None,
    status: int | None = None,
    to: str = "",
    data: bytes = b"",
    protocol: str = "sip",
) -> Arrow:
    return Arrow(
        time=0.0,
        timestamp=0.0,
        source=source,
        target=target,
        source_address=("127.0.0.1", 1),
        target_address=("127.0.0.1", 2),
        protocol=protocol,
        transport="tcp",
        summary=summarize("sip", data)
        if data
        else Summary(method or str(status), method=method, status=status, cseq_method=to),
        call_id="",
        retransmission=False,
        lost=False,
        data=data,
    )


def through(source: str, target: str, **what: object) -> list[Arrow]:
    """The same message on both sides of the server."""
    return [arrow(source, SERVER, **what), arrow(SERVER, target, **what)]  # type: ignore[arg-type]


def whole() -> DemoResult:
    ladder: list[Arrow] = []
    for agent in (ALEX, BOB):
        ladder += [
            arrow(agent, SERVER, method="REGISTER"),
            arrow(SERVER, agent, status=401, to="REGISTER"),
            arrow(agent, SERVER, method="REGISTER", data=DIGEST),
            arrow(SERVER, agent, status=200, to="REGISTER"),
            arrow(agent, SERVER, method="REGISTER", data=REMOVAL),
        ]
    ladder += through(ALEX, BOB, method="INVITE")
    ladder += through(BOB, ALEX, status=180, to="INVITE")
    ladder += through(BOB, ALEX, status=200, to="INVITE")
    ladder += through(ALEX, BOB, method="ACK")
    ladder += [
        arrow(ALEX, BOB, method="SEND", protocol="msrp"),
        arrow(BOB, ALEX, status=200, protocol="msrp"),
    ]
    ladder += through(BOB, ALEX, method="BYE")
    ladder += through(ALEX, BOB, status=200, to="BYE")
    return DemoResult(
        users=["alex@x", "bob@x"],
        messages=[
            DemoMessage("1", "alex@x", "bob@x", "hi", "delivered", received=True),
            DemoMessage("2", "bob@x", "alex@x", "ho", "delivered", received=True),
        ],
        files=[DemoFile("f", "alex@x", "bob@x", 1, "", "sent", intact=True)],
        ladder=ladder,
    )


def test_a_whole_demo_has_no_problem() -> None:
    result = whole()
    assert find_problems(result, ALEX, BOB) == []
    assert result.ok
    counts = result.summary()
    assert (counts["delivered"], counts["files_intact"]) == (2, 1)
    assert (counts["sip_messages"], counts["msrp_messages"]) == (22, 2)
    assert counts["msrp"] == {"200": 1, "SEND": 1}


def test_every_message_on_the_wire_is_needed() -> None:
    # The first REGISTER is what its challenge answers, and the second one proves it as well.
    spare = [
        number
        for number in range(len(whole().ladder))
        if not problems_without(number) and whole().ladder[number].protocol == "sip"
    ]
    assert [whole().ladder[number].data for number in spare] == [b"", b""]
    assert {whole().ladder[number].summary.method for number in spare} == {"REGISTER"}


def problems_without(number: int) -> list[str]:
    result = whole()
    del result.ladder[number]
    return find_problems(result, ALEX, BOB)


def relayed(result: DemoResult) -> None:
    result.ladder.append(arrow(ALEX, SERVER, method="SEND", protocol="msrp"))


def refused(result: DemoResult) -> None:
    result.ladder.append(arrow(ALEX, BOB, status=481, protocol="msrp"))


def leaking(result: DemoResult) -> None:
    data = b"BYE sip:bob SIP/2.0\r\nProxy-Authorization: Digest x\r\n\r\n"
    result.ladder.append(arrow(SERVER, BOB, data=data))


def silent(result: DemoResult) -> None:
    result.messages = result.messages[:1]


def undelivered(result: DemoResult) -> None:
    result.messages[0].status = "sent"


def unread(result: DemoResult) -> None:
    result.messages[0].received = False


def broken_file(result: DemoResult) -> None:
    result.files[0].intact = False


def unconfirmed_file(result: DemoResult) -> None:
    result.files[0].status = "received"


def no_file(result: DemoResult) -> None:
    result.files = []


def no_msrp(result: DemoResult) -> None:
    result.ladder = [each for each in result.ladder if each.protocol == "sip"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (relayed, "did not go directly: it passed server"),
        (refused, "MSRP was refused: 481"),
        (leaking, "the server passed the peer's credentials on to bob (BYE)"),
        (silent, "bob@x wrote nothing"),
        (undelivered, "'hi' from alex@x is sent, not delivered"),
        (unread, "'hi' from alex@x did not come to bob@x"),
        (broken_file, "did not come to bob@x as it was sent"),
        (unconfirmed_file, "was not told"),
        (no_file, "no file was sent"),
        (no_msrp, "no MSRP was spoken"),
    ],
)
def test_what_is_wrong_is_said(spoil: Callable[[DemoResult], None], said: str) -> None:
    result = whole()
    spoil(result)
    (problem,) = find_problems(result, ALEX, BOB)
    assert said in problem


def test_the_document_names_both_ends() -> None:
    document = whole().to_json()
    assert document["messages"][0]["from"] == "alex@x"
    assert document["messages"][0]["to"] == "bob@x"
    assert document["files"][0]["from"] == "alex@x"
    assert len(document["ladder"]) == 24
    assert document["ok"] is True
