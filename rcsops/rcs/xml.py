"""XML from the network, which is hostile: small, without DTDs and entities."""

from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from rcsops.errors import CpimParseError

MAX_SIZE = 65536


def parse_document(data: bytes, root: str) -> Element:
    """The root element, which has to be ``root`` (``{namespace}name``); raise CpimParseError."""
    if len(data) > MAX_SIZE:
        raise CpimParseError("an XML document that is too long", status=413)
    try:
        element: Element = fromstring(data, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise CpimParseError(f"not an XML document that we read: {error}") from error
    if element.tag != root:
        raise CpimParseError(f"not {root}: {str(element.tag)[:80]}")
    return element


def child_text(element: Element, tag: str) -> str | None:
    """The stripped text of the first child of that tag, or None."""
    child = element.find(tag)
    return None if child is None else (child.text or "").strip()
