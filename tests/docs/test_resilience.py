"""The table of faults names tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMED = re.compile(r"`(tests/[\w/]+\.py)?(?:::(\w+))?`")


def named() -> list[tuple[str, str]]:
    """Every test that the page names, as file and function; the function is empty where a whole file is named."""
    found = []
    for line in (ROOT / "docs" / "resilience.md").read_text().splitlines():
        file = ""
        for match in NAMED.finditer(line.rpartition(" | ")[2] if line.startswith("|") else ""):
            file = match[1] or file
            if match[0] != "``" and file:
                found.append((file, match[2] or ""))
    return found


def test_the_page_names_many_tests() -> None:
    assert len(named()) > 100


@pytest.mark.parametrize("file", sorted({file for file, _ in named()}))
def test_every_test_that_the_page_names_exists(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    wanted = {function for other, function in named() if other == file and function}
    assert wanted <= there
