import re

import pytest

from rcsops.tokens import Tokens

KINDS = {
    "branch": r"z9hG4bK[0-9a-f]{20}",
    "tag": r"[0-9a-f]{16}",
    "call_id": r"[0-9a-f]{32}",
    "cnonce": r"[0-9a-f]{20}",
    "nonce": r"[0-9a-f]{32}",
    "transact_id": r"[0-9A-Za-z]{8,32}",
    "msrp_message_id": r"[0-9A-Za-z]{8,32}",
    "session_id": r"[0-9a-f]{20,}",
    "imdn_id": r"[0-9A-Za-z]{24}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_have_their_form_and_do_not_repeat(kind: str) -> None:
    make = getattr(Tokens.deterministic(1), kind)
    made = [make() for _ in range(500)]
    assert all(re.fullmatch(KINDS[kind], token) for token in made)
    assert len(set(made)) == 500


def test_same_seed_same_tokens() -> None:
    one, same, other = (Tokens.deterministic(seed) for seed in (7, 7, 8))
    first = [one.branch(), one.tag(), one.uuid()]
    assert first == [same.branch(), same.tag(), same.uuid()]
    assert first != [other.branch(), other.tag(), other.uuid()]


def test_random_bytes_are_asked_for_and_used() -> None:
    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    assert Tokens(random_bytes).branch() == "z9hG4bK00010203040506070809"
    assert asked == [10]


def test_uuid_sets_version_and_variant_over_any_bytes() -> None:
    assert Tokens(lambda n: b"\xff" * n).uuid() == "ffffffff-ffff-4fff-bfff-ffffffffffff"
    assert Tokens(lambda n: b"\x00" * n).uuid() == "00000000-0000-4000-8000-000000000000"


def test_fraction_spans_zero_to_one() -> None:
    assert Tokens(lambda n: b"\x00" * n).fraction() == 0.0
    assert 0.999 < Tokens(lambda n: b"\xff" * n).fraction() < 1.0
    tokens = Tokens.deterministic(3)
    drawn = [tokens.fraction() for _ in range(2000)]
    assert 0.45 < sum(drawn) / len(drawn) < 0.55
