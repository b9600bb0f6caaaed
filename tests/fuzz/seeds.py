"""What the fuzzer and the property tests begin with: the corpus, for the parser that reads it."""

from tests.corpus.corpus import HERE, SIP, cases

FOUND = HERE / "found"


def seeds(oracle: str) -> list[bytes]:
    """The messages of the corpus for an oracle, and what was found for it before."""
    if oracle in ("sip", "sip_stream"):
        datas = [case.data for case in SIP]
    else:
        own = oracle.replace("_stream", "")
        datas = [case.data for case in cases("rcs") if case.entry["oracle"] == own]
    if oracle.endswith("_stream"):
        datas = [bytes([size]) + data for data in datas for size in (0, 6, 255)]
    return datas + [path.read_bytes() for path in sorted(FOUND.glob(f"{oracle}/*.bin"))]
