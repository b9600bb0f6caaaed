"""XML from the network, which is hostile: small and shallow, without DTDs and entities."""

from typing import Any
from xml.etree.ElementTree import XML, Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from rcsops.errors import CpimParseError
from rcsops.limits import XML_DEPTH, XML_ELEMENTS, XML_SIZE

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
_SURELY_SHALLOW = min(2 * XML_DEPTH, XML_ELEMENTS)


class _Bounded(TreeBuilder):
    """Builds the tree, and gives up on one that is too deep or has too many elements."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = self._count = 0

    def start(self, tag: Any, attrs: dict[Any, Any], /) -> Element:
        self._depth += 1
        self._count += 1
        if self._depth > XML_DEPTH or self._count > XML_ELEMENTS:
            raise CpimParseError("an XML document with too many elements")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def parse_document(data: bytes, root: str) -> Element:
    """The root element, which has to be ``root`` (``{namespace}name``); raise CpimParseError."""
    element = parse_tree(data)
    if element.tag != root:
        raise CpimParseError(f"not {root}: {str(element.tag)[:80]}")
    return element


def parse_tree(data: bytes) -> Element:
    """The root element, whatever it is; raise CpimParseError."""
    if len(data) > XML_SIZE:
        raise CpimParseError("an XML document that is too long", status=413)
    try:
        if _is_harmless(data):
            return XML(data)
        parser = DefusedXMLParser(target=_Bounded(), forbid_dtd=True)
        parser.feed(data)
        element: Element = parser.close()
    except CpimParseError:
        raise
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise CpimParseError(f"not an XML document that we read: {error}") from error
    return element


def _is_harmless(data: bytes) -> bool:
    """Whether a glance shows that it has no DTD and cannot be too deep: most notifications are so
    short that the bounds cost several times what reading them does."""
    return (
        # In another encoding other octets may begin a DTD.
        data.startswith(_DECLARATION)
        and b"<!" not in data
        # Each level opens and closes.
        and data.count(b"<") <= _SURELY_SHALLOW
    )


def local_name(element: Element) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def child_text(element: Element, tag: str) -> str | None:
    """The stripped text of the first child of that tag, or None."""
    child = element.find(tag)
    return None if child is None else (child.text or "").strip()
