"""XML from the network: what is short is read without the bounds, and nothing else is."""

import codecs

import pytest

from rcsops.errors import CpimParseError
from rcsops.rcs.xml import parse_tree

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
DTD = '<!DOCTYPE a [<!ENTITY b "c">]>'


@pytest.mark.parametrize("declaration", [DECLARATION, b""], ids=["declared", "bare"])
def test_both_ways_read_the_same(declaration: bytes) -> None:
    root = parse_tree(declaration + b'<a xmlns="urn:x"><b> c </b><d e="f"/></a>')
    assert [(each.tag, each.text, each.attrib) for each in root.iter()] == [
        ("{urn:x}a", None, {}),
        ("{urn:x}b", " c ", {}),
        ("{urn:x}d", None, {"e": "f"}),
    ]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(DECLARATION + DTD.encode() + b"<a>&b;</a>", id="declared"),
        pytest.param(DTD.encode() + b"<a>&b;</a>", id="bare"),
        pytest.param(codecs.BOM_UTF16_LE + f"{DTD}<a>&b;</a>".encode("utf-16-le"), id="utf-16"),
        pytest.param(
            b'<?xml version="1.0" encoding="cp037"?>' + f"{DTD}<a>&b;</a>".encode("cp037"),
            id="ebcdic",
        ),
        pytest.param(DECLARATION + b"<a>" * 33 + b"</a>" * 33, id="deep"),
        pytest.param(DECLARATION + b"<a>" + b"<b/>" * 2000 + b"</a>", id="many"),
        pytest.param(DECLARATION + b"<a>" + b" " * 70_000 + b"</a>", id="long"),
        pytest.param(DECLARATION + b"<a>&b;</a>", id="entity"),
        pytest.param(DECLARATION + b"<a>" * 64, id="open"),
        pytest.param(DECLARATION + b"<a>\xff</a>", id="not UTF-8"),
        pytest.param(DECLARATION + b"<a>\x00</a>", id="NUL"),
        pytest.param(DECLARATION, id="nothing"),
    ],
)
def test_what_is_refused(document: bytes) -> None:
    with pytest.raises(CpimParseError):
        parse_tree(document)
