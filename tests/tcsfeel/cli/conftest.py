"""What several tests of commands need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import federations
from tests.tcsfeel.cli.federation import Federation


@pytest.fixture
def federation(sqlite_url: str, tmp_path: Path) -> Iterator[Federation]:
    with federations.federation(tmp_path, sqlite_url) as server:
        yield Federation(server)
