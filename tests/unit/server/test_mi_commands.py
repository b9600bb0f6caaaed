"""The MI commands of a running server, in OpenSIPS's shapes."""

import json
import os
from typing import Any

import pytest

from rcsops.errors import MiError
from rcsops.server.mi import MiDispatcher
from rcsops.server.mi_commands import MiCommands
from tests.unit.server.conftest import DOMAIN, Lab


class Mi:
    def __init__(self, lab: Lab) -> None:
        self.dispatcher = MiDispatcher()
        self.stopped = 0
        server = lab.running
        MiCommands(
            self.dispatcher,
            endpoint=server.endpoint,
            location=server.location,
            statistics=server.statistics,
            names=server.names,
            guard=server.guard,
            stop=self._stop,
        )

    def _stop(self) -> None:
        self.stopped += 1

    def __call__(self, method: str, params: object = ()) -> Any:
        given = params if isinstance(params, dict) else list(params)  # type: ignore[call-overload]
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": given}
        reply = json.loads(self.dispatcher.handle(json.dumps(request)) or b"null")
        if "error" in reply:
            raise MiError(reply["error"]["message"], code=reply["error"]["code"])
        return reply["result"]


@pytest.fixture
def mi(lab: Lab) -> Mi:
    return Mi(lab)


async def test_about_the_server(mi: Mi) -> None:
    assert mi("uptime")["Up time"].endswith(" [sec]")
    assert mi("version")["Server"].startswith("rcsops (")
    (process,) = mi("ps")["Processes"]
    assert process["PID"] == os.getpid()
    assert {"uptime", "ul_dump", "get_statistics", "kill"} <= set(mi("which"))
    assert mi("which", ["ul_"]) == ["ul_dump", "ul_show_contact", "ul_rm", "ul_rm_contact"]
    assert "ul_rm" in mi("help", ["ul_rm"])["Help"]
    assert mi("pwd")["WD"] == os.getcwd()


async def test_kill_asks_the_server_to_stop(mi: Mi) -> None:
    assert mi("kill") == "OK"
    assert mi.stopped == 1


async def test_contacts(lab: Lab, mi: Mi) -> None:
    bob = await lab.registered("bob", "tcp", ("User-Agent", "phone"))
    (domain,) = mi("ul_dump")["Domains"]
    assert domain["name"] == "location"
    (record,) = domain["AORs"]
    assert record["AOR"] == f"bob@{DOMAIN}"
    (contact,) = record["Contacts"]
    assert contact["Contact"] == bob.contact
    assert 295 <= contact["Expires"] <= 300
    assert contact["User-agent"] == "phone"
    assert contact["Received"].endswith(";transport=tcp")
    assert contact["Socket"] == f"tcp:127.0.0.1:{lab.port}"
    assert mi("ul_dump", [1])["Domains"][0]["AORs"] == [{"AOR": f"bob@{DOMAIN}"}]
    names = {"table_name": "location", "aor": f"bob@{DOMAIN}"}
    assert mi("ul_show_contact", names) == record
    assert len(mi("list_tcp_conns")["Connections"]) == 1
    assert mi("ul_rm_contact", {**names, "contact": bob.contact}) == "OK"
    assert lab.running.location.contacts == 0


async def test_removing_a_user_s_contacts(lab: Lab, mi: Mi) -> None:
    await lab.registered("bob")
    await lab.registered("bob")
    assert mi("ul_rm", ["location", f"bob@{DOMAIN}"]) == "OK"
    assert lab.running.location.contacts == 0


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("ul_show_contact", ["location", "x@y"], 404, "AOR not found"),
        ("ul_show_contact", ["nosuch", "x@y"], 404, "Table not found"),
        ("ul_rm", ["location", "x@y"], 404, "AOR not found"),
        ("ul_rm", ["location"], -32602, "Invalid params"),
        ("ul_rm_contact", ["location", f"bob@{DOMAIN}", "sip:x@y"], 404, "Contact not found"),
        ("ul_rm_contact", ["location", f"bob@{DOMAIN}", "::"], 400, "Invalid contact"),
        ("log_level", [99], -32602, "Bad parameter value"),
        ("log_level", [[]], -32602, "Invalid params"),
        ("get_statistics", [[1]], -32602, "Invalid params"),
        ("ul_dump", [{"a": 1}], -32602, "Invalid params"),
        ("help", ["nosuch"], 404, "unknown MI command"),
    ],
)
async def test_refusals(
    lab: Lab, mi: Mi, method: str, params: object, code: int, message: str
) -> None:
    await lab.registered("bob")
    with pytest.raises(MiError, match=message) as caught:
        mi(method, params)
    assert caught.value.code == code


async def test_statistics(lab: Lab, mi: Mi) -> None:
    await lab.registered("bob")
    found = mi("get_statistics", {"statistics": ["usrloc:", "core:rcv_requests", "nosuch"]})
    assert found["usrloc:registered_users"] == 1
    assert found["core:rcv_requests"] == 2
    assert mi("get_statistics", ["accepted_regs"]) == {"registrar:accepted_regs": 1}
    everything = mi("get_statistics", ["all"])
    assert set(mi("list_statistics")) == set(everything)
    assert mi("reset_statistics", ["core:rcv_requests"]) == "OK"
    assert mi("get_statistics", ["core:rcv_requests"]) == {"core:rcv_requests": 0}


async def test_log_level(mi: Mi) -> None:
    import logging

    before = logging.getLogger().level
    try:
        assert mi("log_level", [4]) == {"New global log level": 4}
        assert mi("log_level")["Processes"][0]["Log level"] == 4
        assert logging.getLogger().level == logging.DEBUG
    finally:
        logging.getLogger().setLevel(before)
