"""The management interface: JSON-RPC 2.0 requests to answers, with OpenSIPS's error codes.

Nothing here knows how a request came; `rcsops.server.mi_fifo` and `rcsops.server.mi_datagram`
carry them. Whatever a request holds, the answer is JSON.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rcsops.errors import MiError

__all__ = [
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "SERVER_ERROR",
    "MiCommand",
    "MiDispatcher",
    "error_reply",
]

logger = logging.getLogger(__name__)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000

_TOO_FEW_OR_MANY = "Too few or too many parameters"

Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class MiCommand:
    """One command: its parameters in order, the ones that may be left out after the others."""

    name: str
    handler: Handler
    help: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    array: str = ""
    """A parameter that takes a list; positional ones are gathered into it."""


class MiDispatcher:
    """The commands of one server."""

    def __init__(self) -> None:
        self.commands: dict[str, MiCommand] = {}

    def add(
        self,
        name: str,
        handler: Handler,
        help_text: str,
        *,
        required: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        array: str = "",
    ) -> None:
        """Adds a command. ``handler`` gets its parameters by name and returns what JSON can hold;
        it raises `MiError` with the code and message of the error answer."""
        self.commands[name] = MiCommand(name, handler, help_text, required, optional, array)

    def handle(self, data: bytes | str) -> bytes | None:
        """The answer to one request; None for a notification, which gets none."""
        try:
            request = json.loads(data, parse_constant=_no_constants)
        except (ValueError, RecursionError):
            return error_reply(None, PARSE_ERROR, "Parse error")
        return self.answer(request)

    def answer(self, request: object) -> bytes | None:
        """The answer to a request that has been read from JSON already."""
        if not isinstance(request, dict):
            detail = "batches are not supported" if isinstance(request, list) else None
            return error_reply(None, INVALID_REQUEST, "Invalid Request", detail)
        request_id = request.get("id")
        wants_reply = "id" in request
        if isinstance(request_id, bool | list | dict):
            return error_reply(None, INVALID_REQUEST, "Invalid Request", "bad id")
        method = request.get("method")
        if request.get("jsonrpc") != "2.0" or not isinstance(method, str):
            return error_reply(request_id, INVALID_REQUEST, "Invalid Request")
        try:
            result = self._call(method, request.get("params"))
            reply = _dump({"jsonrpc": "2.0", "result": result, "id": request_id})
        except MiError as error:
            reply = error_reply(request_id, error.code, str(error), error.hint or None)
        except Exception:
            # The interface must outlive a mistake in one command.
            logger.exception("the MI command %s failed", method[:64])
            reply = error_reply(request_id, SERVER_ERROR, "Server error")
        return reply if wants_reply else None

    def _call(self, method: str, params: object) -> object:
        command = self.commands.get(method)
        if command is None:
            raise MiError("Method not found", code=METHOD_NOT_FOUND)
        return command.handler(**_arguments(command, params))


def _arguments(command: MiCommand, params: object) -> dict[str, object]:
    names = (*command.required, *command.optional)
    if params is None:
        given: dict[str, object] = {}
    elif isinstance(params, Mapping):
        given = dict(params)
    elif isinstance(params, list):
        if command.array and names == (command.array,) and params:
            flat = params[0] if len(params) == 1 and isinstance(params[0], list) else params
            given = {command.array: flat}
        elif len(params) > len(names):
            raise _invalid()
        else:
            given = dict(zip(names, params, strict=False))
    else:
        raise _invalid()
    if not given.keys() <= set(names) or not given.keys() >= set(command.required):
        raise _invalid()
    if command.array and isinstance(given.get(command.array), str):
        given[command.array] = [given[command.array]]
    return given


def _invalid() -> MiError:
    return MiError("Invalid params", code=INVALID_PARAMS, hint=_TOO_FEW_OR_MANY)


def error_reply(request_id: object, code: int, message: str, detail: str | None = None) -> bytes:
    """An error answer; ``detail`` is its ``data``."""
    error: dict[str, object] = {"code": code, "message": message}
    if detail is not None:
        error["data"] = detail
    return _dump({"jsonrpc": "2.0", "error": error, "id": request_id})


def _dump(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def _no_constants(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
