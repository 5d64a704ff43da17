"""The page of the Python client: its examples run against a server with three devices, and its table is complete."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from examples import minimal_trainer
from tcsfeel import client
from tcsfeel.agent import hosting
from tests.docs.pages import page, rows
from tests.e2e.servers import Server


@contextlib.contextmanager
def federation(directory: Path, database_url: str) -> Iterator[Server]:
    server = Server(directory, database_url)
    ready, done = threading.Event(), threading.Event()

    async def live() -> None:
        await server.start()
        trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
        async with hosting(trainers, server_url=server.url, api_key=server.key):
            ready.set()
            await asyncio.to_thread(done.wait)
        server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert ready.wait(30)
        yield server
    finally:
        done.set()
        thread.join()


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
