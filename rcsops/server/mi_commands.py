"""The MI commands of the embedded server, with OpenSIPS's names and shapes."""

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Any

from rcsops import __version__
from rcsops.errors import MiError, RcsopsError, SipParseError
from rcsops.server.addresses import LocalNames
from rcsops.server.guard import Guard
from rcsops.server.live_tap import LiveTap
from rcsops.server.location import Binding, LocationService
from rcsops.server.logs import MI_LEVELS, set_mi_level
from rcsops.server.mi import INVALID_PARAMS, MiDispatcher
from rcsops.server.statistics import Statistics
from rcsops.sip import Flow, Uri
from rcsops.transport import SipEndpoint

__all__ = ["MiCommands"]

_TABLE = "location"
_DEFAULT_LEVEL = 3


class MiCommands:
    """Adds the commands to a dispatcher.

    ``stop`` is called by ``kill``, after its answer is on its way.
    """

    def __init__(
        self,
        dispatcher: MiDispatcher,
        *,
        endpoint: SipEndpoint,
        location: LocationService,
        statistics: Statistics,
        names: LocalNames,
        guard: Guard,
        stop: Callable[[], None],
        reload_domains: Callable[[], None] | None = None,
        live: LiveTap | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._endpoint = endpoint
        self._location = location
        self._statistics = statistics
        self._names = names
        self._guard = guard
        self._reload_domains = reload_domains
        self._stop = stop
        self._started = time.time()
        self._level = _DEFAULT_LEVEL
        add = dispatcher.add
        add("uptime", self.uptime, "Time of day, start time and seconds since.")
        add("version", self.version, "Name and version of the server.")
        add("ps", self.ps, "The processes of the server.")
        add("pwd", self.pwd, "The working directory of the server.")
        add("which", self.which, "The commands there are.", optional=("command",))
        add("help", self.help, "What a command does.", required=("mi_cmd",))
        add("kill", self.kill, "Ends the server.")
        add("log_level", self.log_level, "Shows or sets the log level.", optional=("level", "pid"))
        add(
            "get_statistics",
            self.get_statistics,
            "Values by name, group or all.",
            required=("statistics",),
            array="statistics",
        )
        add(
            "list_statistics",
            self.list_statistics,
            "The names of statistics.",
            optional=("statistics",),
            array="statistics",
        )
        add(
            "reset_statistics",
            self.reset_statistics,
            "Sets counters to nothing.",
            required=("statistics",),
            array="statistics",
        )
        add("domain_dump", self.domain_dump, "The domains that the server answers for.")
        add("domain_reload", self.domain_reload, "Reads domains and aliases anew.")
        add("pike_list", self.pike_list, "The sources that are turned away.")
        add("pike_rm", self.pike_rm, "Lets a source in again.", required=("IP",))
        add("ban_list", self.ban_list, "The sources that are turned away, why and how long.")
        if live is not None:
            add(
                "tap_start",
                live.start,
                "Shows messages at a socket of the run directory.",
                required=("socket", "seconds"),
            )
            add("tap_stop", live.stop, "Ends what tap_start began.", required=("socket",))
        add("list_tcp_conns", self.list_tcp_conns, "The connections that are open.")
        add("ul_dump", self.ul_dump, "Every contact.", optional=("brief",))
        record = ("table_name", "aor")
        add("ul_show_contact", self.ul_show_contact, "The contacts of one user.", required=record)
        add("ul_rm", self.ul_rm, "Removes all contacts of one user.", required=record)
        add(
            "ul_rm_contact",
            self.ul_rm_contact,
            "Removes one contact of one user.",
            required=(*record, "contact"),
        )

    # --- the server ----------------------------------------------------------------------------

    def uptime(self) -> dict[str, str]:
        now = time.time()
        return {
            "Now": time.ctime(now),
            "Up since": time.ctime(self._started),
            "Up time": f"{int(now - self._started)} [sec]",
        }

    def version(self) -> dict[str, str]:
        return {"Server": f"rcsops ({__version__} (embedded))"}

    def ps(self) -> dict[str, Any]:
        listeners = " ".join(str(address) for address in self._endpoint.addresses)
        return {
            "Processes": [{"ID": 0, "PID": os.getpid(), "Type": f"SIP server {listeners}".strip()}]
        }

    def pwd(self) -> dict[str, str]:
        return {"WD": os.getcwd()}

    def which(self, command: object = None) -> list[str]:
        names = list(self._dispatcher.commands)
        return [name for name in names if command is None or name.startswith(str(command))]

    def help(self, mi_cmd: object) -> dict[str, str]:
        command = self._dispatcher.commands.get(str(mi_cmd))
        if command is None:
            raise MiError("unknown MI command", code=404)
        params = [*command.required, *(f"[{name}]" for name in command.optional)]
        usage = f"{' '.join([command.name, *params])}: {command.help}"
        return {"Help": usage, "Exported by": "rcsops"}

    def kill(self) -> str:
        logging.getLogger(__name__).info("asked over MI to end")
        self._stop()
        return "OK"

    def log_level(self, level: object = None, pid: object = None) -> dict[str, Any]:
        if level is None:
            return {"Processes": [{**self.ps()["Processes"][0], "Log level": self._level}]}
        number = _number(level)
        if pid is not None and _number(pid) != os.getpid():
            raise MiError("Bad PID", code=404)
        if number not in MI_LEVELS:
            raise MiError("Bad parameter value", code=INVALID_PARAMS)
        set_mi_level(number)
        self._level = number
        return {"New global log level": number}

    def get_statistics(self, statistics: object) -> dict[str, int]:
        return self._statistics.select(_names(statistics))

    def list_statistics(self, statistics: object = None) -> dict[str, str]:
        wanted = ["all"] if statistics is None else _names(statistics)
        return {
            name: "non-incremental" if self._statistics.is_gauge(name) else "incremental"
            for name in self._statistics.select(wanted)
        }

    def reset_statistics(self, statistics: object) -> str:
        self._statistics.reset(_names(statistics))
        return "OK"

    def list_tcp_conns(self) -> dict[str, Any]:
        return {
            "Connections": [
                {
                    "ID": flow.connection,
                    "Type": flow.transport,
                    "State": 0,
                    "Source": _host_port(flow.remote),
                    "Destination": _host_port(flow.local),
                }
                for flow in self._endpoint.connections
            ]
        }

    # --- domains -------------------------------------------------------------------------------

    def domain_dump(self) -> dict[str, Any]:
        names = self._names
        domains = [{"name": domain} for domain in names.domains]
        aliases = [{"name": name, "attributes": f"alias={names.domain}"} for name in names.aliases]
        return {"Domains": [*domains, *aliases]}

    def domain_reload(self) -> str:
        if self._reload_domains is None:
            raise MiError("Domain table reload failed", code=500)
        try:
            self._reload_domains()
        except RcsopsError as error:
            raise MiError(str(error), code=500) from None
        return "OK"

    # --- floods and guesses --------------------------------------------------------------------

    def pike_list(self) -> dict[str, list[str]]:
        return {"IPs": [ban.source for ban in self._guard.bans(self._endpoint.now)]}

    def pike_rm(self, IP: object) -> str:
        text = str(IP).strip().strip("[]").partition("/")[0]
        if not self._guard.lift(text):
            raise MiError("Match not found", code=404)
        return "OK"

    def ban_list(self) -> dict[str, Any]:
        bans = self._guard.bans(self._endpoint.now)
        return {
            "Bans": [
                {"IP": ban.source, "Reason": ban.reason, "Seconds": math.ceil(ban.seconds)}
                for ban in bans
            ]
        }

    # --- contacts ------------------------------------------------------------------------------

    def ul_dump(self, brief: object = None) -> dict[str, Any]:
        short = brief is not None and _number(brief) != 0
        records = [
            self._record(address, bindings, short=short)
            for address, bindings in self._location.records()
        ]
        return {"Domains": [{"name": _TABLE, "hash_size": 512, "AORs": records}]}

    def ul_show_contact(self, table_name: object, aor: object) -> dict[str, Any]:
        address = self._found(table_name, aor)
        return self._record(address, self._location.lookup(address), short=False)

    def ul_rm(self, table_name: object, aor: object) -> str:
        self._location.remove_address(self._found(table_name, aor))
        return "OK"

    def ul_rm_contact(self, table_name: object, aor: object, contact: object) -> str:
        address = self._found(table_name, aor)
        text = str(contact).strip().removeprefix("<").removesuffix(">")
        try:
            uri = Uri.parse(text)
        except SipParseError:
            raise MiError("Invalid contact", code=400) from None
        for binding in self._location.lookup(address):
            if binding.uri_text == text or binding.uri == uri:
                self._location.remove(binding)
                return "OK"
        raise MiError("Contact not found", code=404)

    def _found(self, table_name: object, aor: object) -> str:
        if table_name != _TABLE:
            raise MiError("Table not found", code=404)
        text = str(aor).removeprefix("sip:")
        user, at, domain = text.rpartition("@")
        address = f"{user}@{domain.lower()}" if at else f"{text}@{self._names.domain}"
        if not self._location.lookup(address):
            raise MiError("AOR not found", code=404)
        return address

    def _record(self, address: str, bindings: list[Binding], *, short: bool) -> dict[str, Any]:
        if short:
            return {"AOR": address}
        return {"AOR": address, "Contacts": [self._contact(each) for each in bindings]}

    def _contact(self, binding: Binding) -> dict[str, Any]:
        left = round(binding.expires - self._endpoint.now)
        shown: dict[str, Any] = {
            "Contact": binding.uri_text,
            "ContactID": str(binding.contact_id),
            "Expires": left if left > 0 else "expired",
            "Q": "" if binding.q < 0 else f"{binding.q:g}",
            "Callid": binding.call_id,
            "Cseq": binding.cseq,
            "User-agent": binding.user_agent,
        }
        flow = binding.flow
        if flow is not None:
            shown["Received"] = _flow_uri(flow)
        if binding.path:
            shown["Path"] = ",".join(f"<{uri}>" for uri in binding.path)
        shown["State"] = "CS_SYNC" if binding.stored else "CS_NEW"
        shown["Flags"] = 0
        shown["Cflags"] = "NAT" if binding.behind_nat else ""
        if flow is not None:
            shown["Socket"] = f"{flow.transport}:{_host_port(flow.local)}"
        shown["Methods"] = 4294967295
        if binding.instance:
            shown["SIP_instance"] = binding.instance
        return shown


def _names(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise MiError("Invalid params", code=INVALID_PARAMS)
    return value


def _number(value: object) -> int:
    try:
        return int(value)  # type: ignore[call-overload,no-any-return]
    except (TypeError, ValueError, OverflowError):
        raise MiError("Invalid params", code=INVALID_PARAMS) from None


def _flow_uri(flow: Flow) -> str:
    suffix = "" if flow.transport == "udp" else f";transport={flow.transport}"
    return f"sip:{_host_port(flow.remote)}{suffix}"


def _host_port(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
