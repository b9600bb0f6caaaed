"""A server and chats of their own for each module of faults."""

from collections.abc import Iterator

import pytest

from tests.cli.chatting import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(tmp_path_factory.mktemp("lab")) as lab:
        yield lab
