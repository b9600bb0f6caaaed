"""A stage for each test: a server of its own, with the same names each time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.screens.stage import Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path, "alex", "bob", "carol") as stage:
        yield stage
