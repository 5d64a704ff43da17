"""The application, and the examples of a page."""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.main import create_app
from app.settings import Settings
from tests.docs.pages import blocks, page


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path))


@pytest.fixture
def run_page(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    def run(name: str) -> dict[str, Any]:
        script = tmp_path / "page.py"
        script.write_text("\n".join(blocks(page(name), "python")))
        return runpy.run_path(str(script))

    return run
