"""Each public method of a service is named by the tests of its module, so that a reader finds what it promises.

The tests of `app/services/ROOM/NAME.py` are in `tests/services/ROOM/test_NAME.py`, and in the files beside it whose
docstring has a line "Covers: app.services.ROOM.NAME". The names are derived from the code. Two kinds of methods are
left out: a library calls the methods that its own base class declares, and a `Protocol` declares the methods of others.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from types import FunctionType
from typing import Protocol

import pytest

import app.services
from app.services.rounds.phase import Phase
from app.services.tasks.wires import Wire

TESTS = Path(__file__).parent / "services"
METHODS = (FunctionType, classmethod, staticmethod, property, cached_property)
COVERS = re.compile(r"^Covers: (?P<modules>.+)$", re.MULTILINE)


def modules() -> list[str]:
    found = [module.name for module in pkgutil.walk_packages(app.services.__path__, "app.services.")]
    assert found
    return found


def public_methods(owner: type) -> Iterator[str]:
    """The public methods that a class defines, without those that a library's base class declares."""
    if Protocol in owner.__bases__:
        return
    libraries = [base for base in owner.__mro__ if base.__module__.partition(".")[0] not in ("app", "tcsfeel")]
    for name, member in vars(owner).items():
        inherited = any(hasattr(base, name) for base in libraries)
        if isinstance(member, METHODS) and not name.startswith("_") and not inherited:
            yield name


def promises(module: str) -> list[tuple[str, str]]:
    """The public functions and methods of a module: what each is called, and the name that its tests have to use."""
    found = []
    for name, member in vars(importlib.import_module(module)).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module:
            continue
        if inspect.isclass(member):
            found += [(f"{name}.{method}", method) for method in public_methods(member)]
        elif inspect.isfunction(member):
            found.append((name, name))
    return found


def mirror(module: str) -> Path:
    """The test file that has a module's name."""
    *rooms, name = module.split(".")[2:]
    return TESTS.joinpath(*rooms, f"test_{name}.py")


def files_of(module: str) -> list[Path]:
    """The test files of a module: its mirror, and those beside it that say that they cover it."""
    own = mirror(module)
    return [path for path in own.parent.glob("test_*.py") if path == own or module in covered(path)]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def covered(path: Path) -> set[str]:
    """The modules that the docstring of a test file names."""
    lines = COVERS.findall(ast.get_docstring(parsed(path)) or "")
    return {name.strip(" .") for line in lines for name in line.split(",")}


def named(tree: ast.AST) -> set[str]:
    """The names that a test file calls or looks up."""
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def unnamed(module: str) -> list[str]:
    """What a module promises that its tests do not name."""
    used = set().union(*(named(parsed(path)) for path in files_of(module)))
    return [promise for promise, name in promises(module) if name not in used]


@pytest.mark.parametrize("module", modules())
def test_the_tests_of_a_service_name_each_of_its_public_methods(module: str) -> None:
    assert unnamed(module) == []


def test_a_test_file_covers_only_modules_that_exist() -> None:
    known = set(modules())
    for path in TESTS.rglob("test_*.py"):
        assert covered(path) <= known, path


def test_the_rule_knows_methods_properties_and_what_a_library_declares() -> None:
    assert {"place"} <= set(public_methods(Phase))  # a property and a method
    assert "__init__" not in set(public_methods(Phase))
    assert "receive" in set(public_methods(Wire))
    assert "get_buffer" not in set(public_methods(Wire))  # of `asyncio.BufferedProtocol`


def test_a_test_that_only_imports_a_name_or_writes_it_in_a_text_does_not_name_it() -> None:
    source = "from app import one\n'two'\nvalue.three()\nfour()\n"
    assert named(ast.parse(source)) >= {"value", "three", "four"}
    assert not named(ast.parse(source)) & {"one", "two"}
