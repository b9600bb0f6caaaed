"""MI: JSON-RPC, and the two ways in."""

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opensips.mi import OpenSIPSMI

from rcsops.errors import MiError
from rcsops.server.mi import MiDispatcher
from rcsops.server.mi_datagram import MAX_REPLY, MiDatagram
from rcsops.server.mi_fifo import MiFifo

BIG = 300_000


def refuse() -> None:
    raise MiError("AOR not found", code=404)


def crash() -> None:
    raise ZeroDivisionError


@pytest.fixture
def dispatcher() -> MiDispatcher:
    made = MiDispatcher()
    made.add("ping", lambda: "pong", "Answers.")
    made.add("echo", lambda a, b=None: [a, b], "", required=("a",), optional=("b",))
    made.add("stats", lambda names: names, "", required=("names",), array="names")
    made.add("big", lambda: "x" * BIG, "")
    made.add("refuse", refuse, "")
    made.add("crash", crash, "")
    return made


def ask(dispatcher: MiDispatcher, method: str, **more: object) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
    reply = dispatcher.handle(json.dumps(request))
    assert reply is not None
    return json.loads(reply)


def test_an_answer_repeats_the_id(dispatcher: MiDispatcher) -> None:
    assert ask(dispatcher, "ping") == {"jsonrpc": "2.0", "result": "pong", "id": 1}
    assert ask(dispatcher, "ping", params=[])["result"] == "pong"
    assert ask(dispatcher, "ping", params={})["result"] == "pong"
    assert ask(dispatcher, "ping", id="a")["id"] == "a"


def test_parameters_by_position_and_by_name(dispatcher: MiDispatcher) -> None:
    assert ask(dispatcher, "echo", params=["1"])["result"] == ["1", None]
    assert ask(dispatcher, "echo", params=["1", 2])["result"] == ["1", 2]
    assert ask(dispatcher, "echo", params={"b": 2, "a": 1})["result"] == [1, 2]


@pytest.mark.parametrize("params", [[], [1, 2, 3], {"b": 1}, {"a": 1, "c": 2}, "text", 7])
def test_wrong_parameters(dispatcher: MiDispatcher, params: object) -> None:
    error = ask(dispatcher, "echo", params=params)["error"]
    assert error["code"] == -32602
    assert error["message"] == "Invalid params"


@pytest.mark.parametrize("params", [["a", "b"], [["a", "b"]], {"names": ["a", "b"]}])
def test_a_list_parameter_in_every_form(dispatcher: MiDispatcher, params: object) -> None:
    assert ask(dispatcher, "stats", params=params)["result"] == ["a", "b"]


def test_errors_have_opensips_codes(dispatcher: MiDispatcher) -> None:
    assert ask(dispatcher, "nosuch")["error"]["code"] == -32601
    assert ask(dispatcher, "refuse")["error"] == {"code": 404, "message": "AOR not found"}
    assert ask(dispatcher, "crash")["error"] == {"code": -32000, "message": "Server error"}


def test_a_notification_gets_no_answer(dispatcher: MiDispatcher) -> None:
    assert dispatcher.handle(b'{"jsonrpc":"2.0","method":"ping"}') is None


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff\xfe\x00", -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700),
        (b"[" * 100_000, -32700),
        (b"9" * 10_000, -32700),
        (b"[]", -32600),
        (b"[{}]", -32600),
        (b'"ping"', -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
    ],
)
def test_hostile_requests_get_an_error(dispatcher: MiDispatcher, data: bytes, code: int) -> None:
    reply = dispatcher.handle(data)
    assert reply is not None
    assert json.loads(reply)["error"]["code"] == code


@pytest.fixture
async def fifo(dispatcher: MiDispatcher, tmp_path: Path) -> AsyncIterator[MiFifo]:
    served = MiFifo(dispatcher, tmp_path / "fifo")
    yield served
    served.close()


def package(tmp_path: Path) -> OpenSIPSMI:
    return OpenSIPSMI(
        "fifo",
        fifo_file=str(tmp_path / "fifo"),
        fifo_file_fallback=str(tmp_path / "fifo"),
        fifo_reply_dir=str(tmp_path),
    )


async def raw(tmp_path: Path, data: bytes, name: str = "reply") -> bytes:
    """What comes back on a reply FIFO for bytes written as they are."""
    path = tmp_path / name
    os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with (tmp_path / "fifo").open("wb", buffering=0) as request:
            request.write(data)
        answer = b""
        async with asyncio.timeout(5):
            while True:
                try:
                    part = os.read(fd, 65536)
                except BlockingIOError:
                    part = b""
                if part:
                    answer += part
                elif answer:
                    return answer
                await asyncio.sleep(0.002)
    finally:
        os.close(fd)
        path.unlink()


async def test_the_opensips_package_over_the_fifo(fifo: MiFifo, tmp_path: Path) -> None:
    mi = package(tmp_path)
    assert await asyncio.to_thread(mi.execute, "ping", []) == "pong"
    assert await asyncio.to_thread(mi.execute, "echo", {"a": "ü"}) == ["ü", None]
    assert len(await asyncio.to_thread(mi.execute, "big")) == BIG


async def test_the_fifo_is_private(fifo: MiFifo, tmp_path: Path) -> None:
    found = (tmp_path / "fifo").stat()
    assert stat.S_ISFIFO(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o600
    fifo.close()
    assert not (tmp_path / "fifo").exists()


PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


@pytest.mark.parametrize(
    "data",
    [
        b":reply:" + PING,
        b":reply:" + PING + b"\n",
        b"\n\n:reply: " + PING + b"\r\n",
        b"rubbish\n:reply:" + PING,
        b":../../x:" + PING + b"\n:reply:" + PING,
        b"::" + PING + b":reply:" + PING,
        b":other:{broken\n:reply:" + PING,
        b':reply:{\n "jsonrpc":"2.0",\n "id":1, "method":"ping"}\n',
    ],
)
async def test_framings_and_rubbish(fifo: MiFifo, tmp_path: Path, data: bytes) -> None:
    assert json.loads(await raw(tmp_path, data))["result"] == "pong"


async def test_broken_json_is_answered(fifo: MiFifo, tmp_path: Path) -> None:
    answer = await raw(tmp_path, b":reply:{broken\n")
    assert json.loads(answer)["error"]["code"] == -32700
    # And one that never ends, after its time.
    answer = await raw(tmp_path, b':reply:{"jsonrpc":')
    assert json.loads(answer)["error"]["code"] == -32700


async def test_too_large_a_request_is_dropped(fifo: MiFifo, tmp_path: Path) -> None:
    fd = os.open(tmp_path / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    rest = b":reply:[" + b"1," * 100_000
    async with asyncio.timeout(5):
        while rest:
            try:
                rest = rest[os.write(fd, rest) :]
            except BlockingIOError:
                await asyncio.sleep(0.002)
    os.write(fd, b"\n")
    os.close(fd)
    assert json.loads(await raw(tmp_path, b"\n:reply:" + PING))["result"] == "pong"


async def test_a_client_that_never_reads_keeps_nobody_waiting(fifo: MiFifo, tmp_path: Path) -> None:
    for number in range(200):
        with (tmp_path / "fifo").open("wb", buffering=0) as request:
            request.write(b":gone%d:" % number + PING + b"\n")
    await asyncio.sleep(0.05)
    fifo.close()


async def test_a_reply_file_that_is_no_fifo_is_left_alone(fifo: MiFifo, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(victim)
    for name in (b"victim", b"link"):
        with (tmp_path / "fifo").open("wb", buffering=0) as request:
            request.write(b":" + name + b":" + PING + b"\n")
    assert json.loads(await raw(tmp_path, b":reply:" + PING))["result"] == "pong"
    assert victim.read_bytes() == b"mine"


@pytest.fixture
async def datagram(dispatcher: MiDispatcher, tmp_path: Path) -> AsyncIterator[MiDatagram]:
    served = MiDatagram(dispatcher, tmp_path / "mi.sock", fifo=tmp_path / "fifo")
    yield served
    served.close()


async def test_the_opensips_package_over_the_datagram_socket(
    datagram: MiDatagram, tmp_path: Path
) -> None:
    mi = OpenSIPSMI("datagram", datagram_unix_socket=str(tmp_path / "mi.sock"))
    assert await asyncio.to_thread(mi.execute, "ping", []) == "pong"
    assert stat.S_IMODE((tmp_path / "mi.sock").stat().st_mode) == 0o600


async def test_too_large_an_answer_names_the_fifo(datagram: MiDatagram, tmp_path: Path) -> None:
    assert BIG > MAX_REPLY
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(str(tmp_path / "client"))
        client.settimeout(5)
        request = b'{"jsonrpc":"2.0","id":"q","method":"big"}'
        client.sendto(request, str(tmp_path / "mi.sock"))
        reply = json.loads(await asyncio.to_thread(client.recv, 65536))
    assert reply["id"] == "q"
    assert str(tmp_path / "fifo") in reply["error"]["message"]


async def test_a_client_without_an_address_is_survived(
    datagram: MiDatagram, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        for data in (PING, b"", b"\x00" * 60_000):
            client.sendto(data, str(tmp_path / "mi.sock"))
    mi = OpenSIPSMI("datagram", datagram_unix_socket=str(tmp_path / "mi.sock"))
    assert await asyncio.to_thread(mi.execute, "ping", []) == "pong"
