import pytest

from rcsops.database.ddl import create_table, mysql_dialect
from rcsops.database.shapes import EMBEDDED, LINES, OPENSIPS_TABLES, Line, shape_of
from rcsops.errors import DatabaseError

# Facts of 3.0.2, 3.4.18, 3.6.8 and 4.0.1: the version numbers that OpenSIPS checks at its start.
VERSIONS = {
    (3, 0): {"subscriber": 7, "domain": 3, "dialog": 10},
    (3, 4): {"subscriber": 8, "domain": 3, "dialog": 12},
    (3, 6): {"subscriber": 8, "domain": 4, "dialog": 12},
    (4, 0): {"subscriber": 8, "domain": 4, "dialog": 12},
}
SUBSCRIBER = {
    (3, 0): "id username domain password email_address ha1 ha1b rpid",
    (3, 4): "id username domain password email_address ha1 ha1_sha256 ha1_sha512t256 rpid",
    (3, 6): "id username domain password ha1 ha1_sha256 ha1_sha512t256",
    (4, 0): "id username domain password ha1 ha1_sha256 ha1_sha512t256",
}


@pytest.mark.parametrize("line", LINES)
def test_each_line_has_its_versions_and_columns(line: Line) -> None:
    shape = shape_of(line)
    same = {"location": 1013, "silo": 6, "uri": 2, "address": 5}
    assert dict(shape.versions) == {**same, **VERSIONS[line]}
    assert shape.tables == ("version", *OPENSIPS_TABLES)
    assert shape["subscriber"].c.keys() == SUBSCRIBER[line].split()
    assert ("accept_subdomain" in shape["domain"].c) == (line >= (3, 6))
    assert ("rt_on_hangup" in shape["dialog"].c) == (line >= (3, 4))


def test_names_compare_byte_for_byte_in_every_table() -> None:
    for line in LINES:
        for name in shape_of(line).tables:
            statement = create_table(shape_of(line), name, mysql_dialect())[0]
            assert statement.endswith("ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin")


def test_the_embedded_engine_has_the_shape_of_3_6() -> None:
    assert EMBEDDED.tables == ("version", "subscriber", "location", "silo", "domain")
    for name in EMBEDDED.tables:
        wanted = create_table(shape_of((3, 6)), name, mysql_dialect())
        assert create_table(EMBEDDED, name, mysql_dialect()) == wanted


def test_a_line_between_the_known_ones_is_not_guessed() -> None:
    for line in ((2, 4), (3, 1), (3, 5)):
        with pytest.raises(DatabaseError, match="not known") as caught:
            shape_of(line)
        assert caught.value.hint == "known are 3.0, 3.4, 3.6, 4.0"


def test_a_newer_line_is_taken_for_the_newest() -> None:
    assert shape_of((4, 2)) is shape_of((4, 0))
