"""The page of the Python client: its examples run against a server with three devices, and its tables are complete."""

import inspect
from collections.abc import Callable, Iterator
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


def methods() -> Iterator[str]:
    """A row for each public method: how it is called, and the first paragraph of its docstring."""
    for name, method in vars(client.Client).items():
        if not name.startswith("_"):
            _, *parameters = inspect.signature(method).parameters.values()
            shown = ", ".join(
                f"{one.name}=" if one.kind is one.KEYWORD_ONLY else str(one.replace(annotation=one.empty)).split("=")[0]
                for one in parameters
            )
            what = " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split())
            yield f"| `{name}({shown})` | {what} |"


def test_the_table_of_methods_is_that_of_the_code() -> None:
    section = page("client.md").split("\n## All methods\n")[1]
    assert [line for line in section.splitlines() if line.startswith("|")] == [
        "| method | what it does |",
        "|---|---|",
        *methods(),
    ]
