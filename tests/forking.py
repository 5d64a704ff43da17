"""Fork processes of the control plane from one that has imported it, which saves each of them two seconds of a core."""

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

_IMPORTED = (
    "aiohappyeyeballs",
    "aiosqlite",
    "alembic.command",
    "app.commands.serving",
    "app.demo.stage",
    "benchmarks.arena",
    "h11",
    "networkit",
    "scipy.sparse.csgraph",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "tcsfeel.agent.running",
    "tcsfeel.cli.agents",
    "tcsfeel.client",
    "tests.e2e.servers",
    "tests.harnesses.replicas",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "uvicorn.protocols.http.h11_impl",
)


def fork(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Run a function in a new process. It ends with this one at the latest."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(list(_IMPORTED))
    process = processes.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def settle_in(log: Path, environment: Mapping[str, str]) -> None:
    """Give a new process its log, its environment, and warnings that are errors."""
    threading.Thread(target=_follow, name="leash", daemon=True).start()
    with log.open("ab") as opened:
        for stream in (1, 2):
            os.dup2(opened.fileno(), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    warnings.simplefilter("error")


def _follow() -> None:
    """End this process when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
