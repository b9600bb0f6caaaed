"""The messages of an agent, as the protocol panel has them."""

from rcsops.transport.tap import TapRecord
from rcsops.tui.wire import Wire

ALEX, BOB = ("192.0.2.1", 40001), ("192.0.2.2", 40002)


def record(number: int) -> TapRecord:
    data = (
        f"MSRP t{number:08} SEND\r\n"
        "To-Path: msrp://192.0.2.2:40002/b;tcp\r\nFrom-Path: msrp://192.0.2.1:40001/a;tcp\r\n"
        f"Message-ID: m{number:08}\r\nByte-Range: 1-5/5\r\n"
        "Content-Type: text/plain\r\n\r\nhello\r\n"
        f"-------t{number:08}$\r\n"
    )
    return TapRecord(float(number), "msrp", "out", "tcp", ALEX, BOB, data.encode())


def test_what_comes_is_taken_for_so_long_and_the_rest_waits() -> None:
    wire = Wire("alex")
    for number in range(2000):
        wire(record(number))
    turns = 1
    while wire.take(0.0):
        turns += 1
    # A few at a time, none lost or out of its order.
    assert turns > 100
    assert not wire.waiting
    assert [step.number for step in wire.steps()] == list(range(1, 2001))
    assert [step.arrow.time for step in wire.steps()] == [float(each) for each in range(2000)]
    # The octets of what was taken count no longer: as much again finds room.
    for _ in range(20):
        for number in range(2000, 4500):
            wire(record(number))
        assert not wire.take()
    assert len(wire.steps()) == 3000
