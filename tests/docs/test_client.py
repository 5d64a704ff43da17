"""The page of the Python client: its examples run against a server with three devices, and its table is complete."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tcsfeel import client
from tests.docs.pages import page, rows
from tests.e2e.federations import federation


def test_the_examples_run(
    run_page: Callable[[str], dict[str, Any]], tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with federation(tmp_path, sqlite_url) as server:
        monkeypatch.setenv("TCSFEEL_SERVER", server.url)
        monkeypatch.setenv("TCSFEEL_AUTH__ADMIN_KEY", server.key)
        left = run_page("client.md")
    assert left["training"].status == "completed"
    assert left["first"].status == "completed"
    assert len(left["table"]) == len(left["accuracies"]) == left["training"].current_round
    assert (tmp_path / "model.safetensors").stat().st_size > 100
    assert left["parameters"].keys()


def test_every_exception_is_in_the_table() -> None:
    named = {name.strip("` ") for cells in rows(page("client.md"), "Errors") for name in cells[0].split(",")}
    raised = {name for name in client.__all__ if isinstance(getattr(client, name), type)}
    assert named == {name for name in raised if issubclass(getattr(client, name), Exception)}
