"""Mutation testing looks at all rules of the code, and has the tests of each module as judges."""

import tomllib
from pathlib import Path

import pytest

from tests.harnesses.mutation_score import PARTS

ROOT = Path(__file__).parent.parent.parent
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mutmut"]


def mirror(path: Path) -> Path:
    """Return the path of the tests of a module or of a folder."""
    inside = path.relative_to("sdk" if path.is_relative_to("sdk") else "app")
    return Path("tests") / (inside if path.suffix == "" else inside.with_name(f"test_{inside.name}"))


def modules() -> list[Path]:
    """List the modules of the domain that have a function."""
    found = [path.relative_to(ROOT) for path in (ROOT / "app" / "domain").rglob("*.py")]
    return [path for path in sorted(found) if "def " in (ROOT / path).read_text()]


def test_what_is_scored_is_what_is_changed_and_its_tests_judge_it() -> None:
    assert {pattern.removesuffix("/*") for pattern in SETTINGS["only_mutate"]} == set(PARTS)
    judges = set(SETTINGS["pytest_add_cli_args_test_selection"])
    assert {str(mirror(Path(part))) for part in PARTS} <= judges
    assert all((ROOT / part).exists() for part in PARTS)


@pytest.mark.parametrize("module", modules(), ids=str)
def test_a_module_of_the_domain_has_tests_of_its_own(module: Path) -> None:
    """Tests of services do not judge the domain: they take too long."""
    assert (ROOT / mirror(module)).exists()
