"""The registrar: REGISTER for the addresses of the domains (RFC 3261 §10.3, 3327, 5626, 5627).

Everything a request asks for is checked before the first binding changes, so it is carried out
whole or not at all.
"""

from collections.abc import Callable, Sequence

from rcsops.errors import RemoteProtocolError, SipParseError
from rcsops.server.gruu import Gruus
from rcsops.server.location import Binding, LocationService, contact_address
from rcsops.server.options import ServerOptions
from rcsops.server.statistics import Statistics
from rcsops.sip import Flow, NameAddr, Request, Response

__all__ = ["SUPPORTED", "Registrar"]

SUPPORTED = ("path", "outbound", "gruu")
_HOUR = 3600


class Registrar:
    """Changes the bindings of ``location`` as authenticated REGISTERs ask.

    ``own_route(flow)`` is the Service-Route for who registers through a proxy that stands at the
    other end of ``flow``.
    """

    def __init__(
        self,
        location: LocationService,
        options: ServerOptions,
        statistics: Statistics,
        gruus: Gruus,
        own_route: Callable[[Flow], str],
    ) -> None:
        self._location = location
        self._gruus = gruus
        self._own_route = own_route
        self._options = options
        self._counts = statistics.counts

    def register(
        self, request: Request, flow: Flow, address: str, tag: str, now: float
    ) -> Response:
        """Carries out a REGISTER for ``address`` (``user@domain``), whose sender is known to be
        allowed to; returns the answer."""
        try:
            headers = self._register(request, flow, address, now)
        except RemoteProtocolError as error:
            self._counts["registrar:rejected_regs"] += 1
            return self._refusal(request, error, tag)
        self._counts["registrar:accepted_regs"] += 1
        return Response.to_request(request, 200, "", tag, headers)

    def _refusal(self, request: Request, error: RemoteProtocolError, tag: str) -> Response:
        headers = []
        if error.status == 423:
            headers.append(("Min-Expires", str(self._options.min_expires)))
        elif error.status == 420:
            headers.append(("Unsupported", str(error)))
        return Response.to_request(request, error.status, error.reason, tag, headers)

    def _register(
        self, request: Request, flow: Flow, address: str, now: float
    ) -> list[tuple[str, str]]:
        self._check_options(request)
        location = self._location
        removals: list[Binding] = []
        updates: list[tuple[Binding | None, Binding]] = []
        held = location.lookup(address)
        if request.contact_star:
            if request.expires != 0:
                raise RemoteProtocolError("Contact: * without Expires: 0", status=400)
            for binding in held:
                self._check_order(binding, request)
            removals = list(held)
        elif request.has("Contact"):
            removals, updates = self._plan(request, flow, address, held, now)
        for binding in removals:
            location.remove(binding)
        for old, new in updates:
            if old is None:
                location.add(new)
            else:
                location.replace(old, new)
        return self._headers(request, flow, address, [new for _, new in updates], now)

    def _check_options(self, request: Request) -> None:
        if request.has("Require"):
            unknown = [
                tag for tag in request.option_tags("Require") if tag.lower() not in SUPPORTED
            ]
            if unknown:
                raise RemoteProtocolError(", ".join(unknown), status=420)
        required = self._options.path_required_support
        if required and request.has("Path") and not _supports(request, "path"):
            raise RemoteProtocolError("path", status=420)

    def _plan(
        self,
        request: Request,
        flow: Flow,
        address: str,
        held: Sequence[Binding],
        now: float,
    ) -> tuple[list[Binding], list[tuple[Binding | None, Binding]]]:
        options = self._options
        contacts = request.contacts
        if len(contacts) > options.max_contacts_per_request:
            raise RemoteProtocolError("too many contacts", status=403, reason="Too Many Contacts")
        removals: list[Binding] = []
        updates: list[tuple[Binding | None, Binding]] = []
        paths = tuple(path.uri_text for path in request.paths)
        for contact in contacts:
            seconds = self._expiry(contact, request)
            new = self._binding(request, contact, flow, address, paths, seconds, now)
            old = next((binding for binding in held if binding.same_contact(new)), None)
            if old is not None:
                self._check_order(old, request)
                if old in removals or any(each is old for each, _ in updates):
                    raise RemoteProtocolError("a contact stands twice", status=400)
            if not seconds:
                if old is not None:
                    removals.append(old)
                continue
            updates.append((old, new))
        added = sum(old is None for old, _ in updates)
        if len(held) - len(removals) + added > options.max_contacts and added:
            raise RemoteProtocolError("too many contacts", status=403, reason="Too Many Contacts")
        return removals, updates

    def _expiry(self, contact: NameAddr, request: Request) -> int:
        options = self._options
        given = contact.params.get("expires")
        if given is not None:
            # RFC 3261 §10.2.1.1: a malformed value counts as 3600.
            digits = given.isascii() and given.isdigit()
            asked = int(given) if digits and len(given) < 12 else 2**32 - 1 if digits else _HOUR
        else:
            header = request.expires
            asked = options.default_expires if header is None else header
        if asked and asked < options.min_expires and asked < _HOUR:
            raise RemoteProtocolError("the interval is too brief", status=423)
        return min(asked, options.max_expires)

    def _binding(
        self,
        request: Request,
        contact: NameAddr,
        flow: Flow,
        address: str,
        paths: tuple[str, ...],
        seconds: int,
        now: float,
    ) -> Binding:
        uri = contact.uri
        if not uri.is_sip:
            raise RemoteProtocolError("not a SIP contact", status=400, reason="Bad Contact")
        if "gr" in uri.params:
            # RFC 5627 §5.1: it would lead back here.
            raise RemoteProtocolError("a GRUU as contact", status=403, reason="GRUU As Contact")
        params = contact.params
        instance = contact.param("+sip.instance") or ""
        reg_id = _reg_id(params.get("reg-id")) if instance else 0
        outbound = False
        if reg_id and _supports(request, "outbound"):
            self._check_first_hop(request)
            outbound = not paths
        via = request.top_via
        cseq = request.cseq
        return Binding(
            address,
            contact.uri_text,
            contact_address(contact),
            expires=now + seconds,
            call_id=request.call_id,
            cseq=cseq.number,
            q=_q(params.get("q")),
            path=paths,
            flow=flow,
            instance=instance.lower() if "uuid:" in instance.lower() else instance,
            reg_id=reg_id,
            outbound=outbound,
            # The sender does not know under which address it is seen: what it put into Via, and
            # into Contact, is not where its packets come from.
            behind_nat=via.received is not None and uri.host == via.host != flow.remote[0],
            user_agent=request.get("User-Agent") or "",
            modified=now,
            uri=uri,
        )

    def _check_first_hop(self, request: Request) -> None:
        """RFC 5626 §6: a first hop that is not us must say that it supports outbound."""
        paths = request.paths
        if paths:
            if "ob" not in paths[-1].uri.params:
                raise RemoteProtocolError("the first hop lacks outbound", status=439)
        elif len(request.vias) > 1:
            raise RemoteProtocolError("the first hop lacks outbound", status=439)

    @staticmethod
    def _check_order(binding: Binding, request: Request) -> None:
        """RFC 3261 §10.3 step 7: within a Call-ID the CSeq must grow."""
        if binding.call_id == request.call_id and request.cseq.number <= binding.cseq:
            raise RemoteProtocolError(
                "an older REGISTER came late", status=500, reason="CSeq Out Of Order"
            )

    def _headers(
        self,
        request: Request,
        flow: Flow,
        address: str,
        updated: Sequence[Binding],
        now: float,
    ) -> list[tuple[str, str]]:
        gruus = self._gruus.params if _supports(request, "gruu") else _nothing
        headers = [
            (
                "Contact",
                f"{binding.echo}{gruus(binding)};expires={max(0, round(binding.expires - now))}",
            )
            for binding in self._location.lookup(address)
            if binding.expires > now
        ]
        if request.has("Path"):
            headers += [("Path", f"<{path.uri_text}>") for path in request.paths]
            # RFC 3608: what the device sends is to come by here, wherever its proxy would send it.
            headers.append(("Service-Route", self._own_route(flow)))
        if any(binding.by_flow for binding in updated):
            headers.append(("Require", "outbound"))
            if self._options.flow_timer:
                headers.append(("Flow-Timer", str(self._options.flow_timer)))
        headers.append(("Supported", ", ".join(SUPPORTED)))
        return headers


def _supports(request: Request, tag: str) -> bool:
    return tag in [each.lower() for each in request.option_tags("Supported")]


def _nothing(_: Binding) -> str:
    return ""


def _reg_id(text: str | None) -> int:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 10:
        return 0
    number = int(text)
    return number if 0 < number < 2**31 else 0


def _q(text: str | None) -> float:
    if not text:
        return -1.0
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise SipParseError(f"not a q value: {text[:20]!r}")
    return value
