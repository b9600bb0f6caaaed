"""Geolocation push: where somebody is, as an RCS message (GSMA RCC.07, RFC 5491 shapes)."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from xml.sax.saxutils import quoteattr

from rcsops.errors import CpimParseError, UsageError
from rcsops.rcs.cpim import format_date_time
from rcsops.rcs.xml import parse_document

CONTENT_TYPE = "application/vnd.gsma.rcspushlocation+xml"

_NAMESPACE = "urn:gsma:params:xml:ns:rcs:rcs:geolocation"
_GEOPRIV = "urn:ietf:params:xml:ns:pidf:geopriv10"
_GML = "http://www.opengis.net/gml"
_SHAPES = "http://www.opengis.net/pidflo/1.0"
_DEGREES = "urn:ogc:def:crs:EPSG::4326"
_METRES = "urn:ogc:def:uom:EPSG::9001"

# Half around the world: an uncertainty beyond that says nothing.
_MAX_RADIUS = 20_040_000.0
_MAX_LABEL = 200
_VALID = timedelta(days=1)
_ZOOM = 16


@dataclass(frozen=True, slots=True)
class Location:
    """A place: degrees of WGS 84, north and east positive; ``radius`` is how uncertain it is, in
    metres, 0 when that is not known; ``label`` is one line for people.

    Raises UsageError for coordinates that are nowhere on the earth. A label is shortened to 200
    characters, and its line ends become spaces.
    """

    latitude: float
    longitude: float
    radius: float = 0.0
    label: str = ""

    def __post_init__(self) -> None:
        for name, value, most in (
            ("latitude", self.latitude, 90.0),
            ("longitude", self.longitude, 180.0),
        ):
            if not -most <= value <= most:
                raise UsageError(
                    f"a {name} is from -{most:g} to {most:g} degrees, not {value:g}",
                    hint="latitude comes first, as in 48.2082,16.3738",
                )
        if not 0.0 <= self.radius <= _MAX_RADIUS:
            raise UsageError(f"a radius of {self.radius:g} m is none on this earth")
        object.__setattr__(self, "label", _one_line(self.label))

    @property
    def coordinates(self) -> str:
        """``48.2082, 16.3738``, exact to a centimetre."""
        return f"{_number(self.latitude)}, {_number(self.longitude)}"

    @property
    def geo_uri(self) -> str:
        """``geo:48.2082,16.3738;u=15`` (RFC 5870)."""
        uncertainty = f";u={_number(self.radius)}" if self.radius else ""
        return f"geo:{_number(self.latitude)},{_number(self.longitude)}{uncertainty}"

    @property
    def map_url(self) -> str:
        """The place on a map that a browser shows."""
        latitude, longitude = _number(self.latitude), _number(self.longitude)
        return (
            f"https://www.openstreetmap.org/?mlat={latitude}&mlon={longitude}"
            f"#map={_ZOOM}/{latitude}/{longitude}"
        )

    @property
    def text(self) -> str:
        """The place in words and as links, for people and for peers that know nothing else."""
        within = f", within {_number(self.radius)} m" if self.radius else ""
        name = f"location {self.label}: " if self.label else "location: "
        return f"{name}{self.coordinates}{within}\n{self.geo_uri}\n{self.map_url}"


def make_location(location: Location, *, entity: str, number: str, now: datetime) -> bytes:
    """The document; ``entity`` is the URI of who is there, ``number`` tells documents apart.

    ``now`` is an aware datetime; the place is to be forgotten a day later (``retention-expiry``).
    """
    position = f"<gml:pos>{_number(location.latitude)} {_number(location.longitude)}</gml:pos>"
    if location.radius:
        shape = (
            f'<gs:Circle srsName="{_DEGREES}">{position}'
            f'<gs:radius uom="{_METRES}">{_number(location.radius)}</gs:radius></gs:Circle>'
        )
    else:
        shape = f'<gml:Point srsName="{_DEGREES}">{position}</gml:Point>'
    label = f" label={quoteattr(location.label)}" if location.label else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<rcsenvelope xmlns="{_NAMESPACE}" xmlns:gp="{_GEOPRIV}" xmlns:gml="{_GML}" '
        f'xmlns:gs="{_SHAPES}" entity={quoteattr(entity)}>'
        f"<rcspushlocation id={quoteattr(number)}{label}>"
        f"<gp:geopriv><gp:location-info>{shape}</gp:location-info>"
        f"<gp:usage-rules><gp:retention-expiry>{format_date_time(now + _VALID)}"
        "</gp:retention-expiry></gp:usage-rules></gp:geopriv>"
        f"<timestamp>{format_date_time(now)}</timestamp>"
        "</rcspushlocation></rcsenvelope>"
    ).encode()


def parse_location(data: bytes) -> Location:
    """Read a document, a circle or a point; raise CpimParseError for what is no place."""
    root = parse_document(data, f"{{{_NAMESPACE}}}rcsenvelope")
    pushed = root.find(f"{{{_NAMESPACE}}}rcspushlocation")
    if pushed is None:
        raise CpimParseError("a geolocation without its rcspushlocation")
    position = next(pushed.iter(f"{{{_GML}}}pos"), None)
    words = "" if position is None else position.text or ""
    # A third number would be the altitude.
    numbers = words.split()
    if len(numbers) not in (2, 3):
        raise CpimParseError("a geolocation without coordinates")
    latitude, longitude = _read(numbers[0]), _read(numbers[1])
    radius = next(pushed.iter(f"{{{_SHAPES}}}radius"), None)
    metres = 0.0 if radius is None else _read(radius.text or "")
    try:
        return Location(latitude, longitude, metres, pushed.get("label") or "")
    except UsageError as error:
        raise CpimParseError(str(error)) from error


def _read(text: str) -> float:
    try:
        number = float(text.strip()) if len(text) < 64 and text.isascii() else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CpimParseError(f"not a number: {text[:40]!r}")
    return number


def _number(value: float) -> str:
    shown = f"{value:.7f}".rstrip("0").rstrip(".")
    return "0" if shown == "-0" else shown


def _one_line(text: str) -> str:
    # Of the control characters XML has a few, and a label none; half a pair is no character.
    kept = "".join(
        each if each >= " " and not "\ud800" <= each <= "\udfff" else " " for each in text
    )
    kept = kept.replace("\ufffe", "").replace("\uffff", "")
    line = " ".join(kept.split())
    return line if len(line) <= _MAX_LABEL else line[: _MAX_LABEL - 1] + "…"
