"""What is declared, what is imported, and what the page about dependencies says of both."""

import ast
import re
import sys
import tomllib
from collections import defaultdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
OURS = ("app", "sdk/tcsfeel", "migrations", "tests", "examples", "benchmarks", "scripts")
NAMES = {*OURS, "tcsfeel"}
ELSEWHERE = {"torch", "flwr"}  # installed by whoever runs the example or the benchmark that imports them
STANDARD = sys.stdlib_module_names | {"compression"}  # the latter from Python 3.14 on
GROUPS = {
    "At run time": "dependencies",
    "For the demo": "demo",
    "For gRPC": "grpc",
    "For traces": "otel",
    "For development": "dev",
}


@cache
def declared(group: str) -> frozenset[str]:
    """The packages of a group of the server; those of the library run in the server too."""
    if group == "dependencies":
        lines = project("pyproject.toml")["dependencies"]
        return (named(lines) - {"tcsfeel"}) | library()
    return named(project("pyproject.toml")["optional-dependencies"][group])


@cache
def library() -> frozenset[str]:
    """What the library needs, with all its extras."""
    found = project("sdk/pyproject.toml")
    return named(
        [*found["dependencies"], *(line for extra in found["optional-dependencies"].values() for line in extra)]
    )


def project(file: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / file).read_text())["project"]
    return found


def named(lines: list[str]) -> frozenset[str]:
    return frozenset(canonicalize_name(Requirement(line).name) for line in lines)


@cache
def listed(heading: str) -> dict[str, str]:
    """The packages of a table, and where each is used."""
    text = (ROOT / "docs" / "dependencies.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    _, _, *table = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return {canonicalize_name(name.strip()): where.strip() for name, _, where, *_ in table}


@cache
def imported(path: Path) -> frozenset[str]:
    """The packages outside the standard library and this project that a file names in its imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    tops = {module.partition(".")[0] for module in found} - STANDARD - NAMES - ELSEWHERE
    return frozenset(name for top in tops for name in owners(top))


@cache
def owners(top: str) -> list[str]:
    """The packages with a module at the top. Of those that share a namespace, only those that are declared."""
    found = packages().get(top, [f"nobody's {top}"])
    known = frozenset[str]().union(*map(declared, GROUPS.values()))
    return [name for name in found if name in known] or found


@cache
def packages() -> dict[str, list[str]]:
    """Of each module at the top of an installed package, whose it is."""
    found = metadata.packages_distributions()
    return {top: [canonicalize_name(name) for name in names] for top, names in found.items()}


@cache
def users() -> dict[str, set[Path]]:
    """Of each package the files that import it."""
    found = defaultdict(set)
    for top in OURS:
        for path in (ROOT / top).rglob("*.py"):
            for name in imported(path):
                found[name].add(path)
    return found


@pytest.mark.parametrize(("heading", "group"), GROUPS.items())
def test_the_page_lists_what_is_declared(heading: str, group: str) -> None:
    assert sorted(listed(heading)) == sorted(declared(group))


@pytest.mark.parametrize("heading", GROUPS)
def test_a_package_is_imported_in_every_place_that_the_page_names_or_nowhere(heading: str) -> None:
    for name, where in listed(heading).items():
        files = users().get(name, set())
        if where.startswith("not imported: "):
            assert not files, name
            continue
        places = [ROOT / place for place in re.findall(r"`([^`]+)`", where)]
        assert places, name
        for place in places:
            assert any(file.is_relative_to(place) for file in files), f"{name} in {place}"


def test_what_is_imported_is_declared() -> None:
    for name, files in users().items():
        for file in files:
            allowed = declared("dependencies")
            if file.is_relative_to(ROOT / "sdk"):
                allowed = library()
            elif file.is_relative_to(ROOT / "app" / "demo"):
                allowed |= declared("demo")
            elif file.is_relative_to(ROOT / "app" / "rpc"):
                allowed |= declared("grpc")
            elif file.is_relative_to(ROOT / "app" / "traces"):
                allowed |= declared("otel")
            elif not file.is_relative_to(ROOT / "app"):
                allowed |= declared("demo") | declared("dev") | declared("grpc") | declared("otel")
            assert name in allowed, f"{name} in {file.relative_to(ROOT)}"
