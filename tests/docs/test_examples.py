"""Examples of pages run, and do what their pages say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tcsfeel.wire import codec
from tests.docs.pages import ROOT, blocks, page, readme_walk
from tests.docs.shells import apart, shell
from tests.e2e.servers import free_port


@pytest.mark.parametrize("name", ["agents.md", "selection.md"])
def test_python_examples_run(name: str, run_page: Callable[[str], dict[str, Any]]) -> None:
    assert run_page(name)


def test_the_calls_of_the_rest_page_run_after_the_set_up_of_the_readme(tmp_path: Path) -> None:
    walk = readme_walk()
    (tmp_path / "my_trainer.py").write_text(blocks(walk, "python")[0])
    output = shell(
        "\n".join([*blocks(walk, "bash")[:2], *blocks(page("rest.md"), "bash")]),
        tmp_path,
        **apart(tmp_path),
    )
    assert 'federated_rounds_total{outcome="completed"} 2.0' in output
    assert codec.decode((tmp_path / "initial.safetensors").read_bytes())[0]["w"].shape == (64, 10)


def test_the_session_of_the_protocol_page_ends_as_it_says(tmp_path: Path) -> None:
    session, expected = (blocks(page("agent-protocol.md"), kind) for kind in ("bash", ""))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    output = shell("\n".join(session), tmp_path, AGENT_PORT=str(free_port()))
    printed = next(block for block in expected if block.startswith("listening")).splitlines()
    assert [line for line in output.splitlines() if "PUT" not in line][1:] == [
        line for line in printed if "PUT" not in line
    ][1:]
