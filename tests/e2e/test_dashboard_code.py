"""The code that the form of the dashboard shows does what its button does: both are run against a real server."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.servers import server
from tests.nodejs import needs_node, run

pytestmark = needs_node

BODY: dict[str, Any] = {
    "name": """it's "$(id)" `id` \\n ünï; {"id":"x"} $HOME %s""",
    "max_rounds": 7,
    "recipe": "tcs-feel",
    "selection": {"min_clients": 1, "max_clients": 3, "parameters": {"divergence_target": 0.5}},
    "where": {"tags": {"si'te": 'no"rth'}, "clients": ["edge-1", "edge-2"]},
    "hyperparameters": {"learning_rate": 0.25, "server_nesterov": False},
}
CODE = 'const { curl, python } = await import("./snippets.js"); return [curl, python].map((code) => code(...given));'


async def test_the_shell_and_the_python_code_start_the_same_training(tmp_path: Path, sqlite_url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl on this machine")
    async with server(tmp_path, sqlite_url) as running:
        shell, python = run(tmp_path / "dashboard", CODE, [running.url, BODY])
        for command in (["sh", "-euc", shell], [sys.executable, "-c", python]):
            made = await asyncio.create_subprocess_exec(*command, env=os.environ | {"TCSFEEL_KEY": running.key})
            assert await made.wait() == 0, command
        assert running.key not in shell + python
        async with running.api() as api:
            found = (await api.get("/v1/trainings")).json()["items"]
        assert len(found) == 2
        for training in found:
            assert training["status"] == "running"
            assert {name: training[name] for name in ("name", "max_rounds", "recipe")} == {
                name: BODY[name] for name in ("name", "max_rounds", "recipe")
            }
            assert training["selection"]["parameters"] == {"divergence_target": 0.5}
            assert training["where"]["tags"] == BODY["where"]["tags"]
            assert training["hyperparameters"]["server_nesterov"] is False
            assert training["aggregation"] == "balanced"
