"""Receipts advance and never go back; streams hand on what comes."""

import asyncio
from datetime import UTC, datetime

import pytest

from rcsops.errors import DeliveryError, SessionClosed
from rcsops.ua import events
from rcsops.ua.receipts import MessageStatus, Receipt
from rcsops.ua.streams import MAX_WEIGHT, Stream


async def test_a_receipt_advances_and_never_goes_back() -> None:
    receipt = Receipt("m", "text")
    waiting = asyncio.create_task(receipt.delivered(timeout=5))
    await asyncio.sleep(0)
    assert receipt.advance(MessageStatus.SENT)
    assert not receipt.advance(MessageStatus.SENT)
    await receipt.sent()
    assert receipt.advance(MessageStatus.DISPLAYED)
    assert not receipt.advance(MessageStatus.DELIVERED)
    await waiting
    await receipt.displayed()
    # A late failure of what has been delivered is none.
    assert not receipt.fail(DeliveryError("late"))
    assert receipt.status is MessageStatus.DISPLAYED


async def test_a_failure_is_raised_to_whoever_waits() -> None:
    receipt = Receipt("m", "text")
    waiting = asyncio.create_task(receipt.sent())
    await asyncio.sleep(0)
    assert receipt.fail(DeliveryError("413", status=413))
    with pytest.raises(DeliveryError, match="413") as caught:
        await waiting
    assert caught.value.status == 413
    with pytest.raises(DeliveryError):
        await receipt.delivered()
    assert not receipt.advance(MessageStatus.SENT)


async def test_time_runs_out_and_sessions_end() -> None:
    receipt = Receipt("m", "text")
    with pytest.raises(DeliveryError, match=r"not sent within 0\.01 s"):
        await receipt.sent(timeout=0.01)
    receipt.advance(MessageStatus.SENT)
    waiting = asyncio.create_task(receipt.delivered())
    await asyncio.sleep(0)
    receipt.end()
    with pytest.raises(SessionClosed):
        await waiting
    await receipt.sent()
    assert receipt.status is MessageStatus.SENT


async def test_a_stream_gives_what_waits_and_then_ends() -> None:
    stream: Stream[int] = Stream()
    for number in range(3):
        stream.put(number)
    stream.close()
    stream.put(99)
    assert [number async for number in stream] == [0, 1, 2]
    assert [number async for number in stream] == []


async def test_a_stream_is_bounded() -> None:
    stream: Stream[int] = Stream(limit=3)
    for number in range(5):
        stream.put(number)
    stream.close()
    assert stream.dropped == 2
    assert [number async for number in stream] == [2, 3, 4]


async def test_several_readers_share_and_a_cancelled_one_loses_nothing() -> None:
    stream: Stream[int] = Stream()
    readers = [asyncio.create_task(anext(stream)) for _ in range(3)]
    await asyncio.sleep(0)
    stream.put(1)
    readers[0].cancel()
    stream.put(2)
    got = await asyncio.wait_for(asyncio.gather(*readers[1:]), 1)
    assert sorted(got) == [1, 2]
    late = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    stream.close()
    with pytest.raises(StopAsyncIteration):
        await late


async def test_a_stream_is_bounded_by_weight_too() -> None:
    stream: Stream[int] = Stream(weighs=lambda item: item)
    for weight in (5, MAX_WEIGHT - 5, 1, MAX_WEIGHT + 1):
        stream.put(weight)
        assert stream.weight <= MAX_WEIGHT + 1
    stream.close()
    # What is too heavy by itself is kept all the same, alone.
    assert [item async for item in stream] == [MAX_WEIGHT + 1]
    assert (stream.dropped, stream.weight) == (3, 0)


def test_what_a_peer_can_make_weighs_by_its_size() -> None:
    moment = datetime.now(UTC)
    long = events.TextReceived("p", "c", "m", "x" * 10240, None, moment)
    assert events.burden(long) == 11
    assert events.burden(events.Composing("p", "c", True)) == 1
    assert events.burden(events.NotRead("p", "c", "m", "r")) == 1
    assert events.burden(events.Sent("p", "c", "m")) == 0
