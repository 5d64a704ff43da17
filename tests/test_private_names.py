"""No code of ours uses a private name of a library: what a library does not document changes without notice.

A name with one underscore in front is private. Ours are known: every class, function, variable, attribute, parameter
and module of that name in this repository. A private name that no code of ours defines belongs to a library. So does
one that is looked up in a module or a class of a library, and one that a subclass of a library's class inherits.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ("app", "sdk/tcsfeel", "migrations", "tests", "examples", "benchmarks", "scripts")
OURS = {"app", "tcsfeel", "migrations", "tests", "examples", "benchmarks", "scripts"}
PRIVATE = re.compile(r"_[^_]\w*$")

# They are documented, in spite of their names.
DOCUMENTED = {
    "_asdict": "of named tuples",
    "_replace": "of named tuples",
    "_make": "of named tuples",
    "_fields": "of named tuples and of syntax trees",
    "_exit": "of the module os",
}

# Programs for measurements that replace a part of a library which has no public way in. They run on pinned versions.
ALLOWED = {
    "benchmarks/loop.py: asyncio.Handle._run": "asyncio has no hook around a callback",
    "tests/harnesses/decorated_mutants.py: MutationVisitor._skip_node_and_children": "mutmut has no setting for it",
}


def sources() -> list[Path]:
    found = [path for source in SOURCES for path in (ROOT / source).rglob("*.py")]
    assert found
    return found


@cache
def parsed(path: Path) -> Sequence[ast.AST]:
    return nodes(path.read_text())


def nodes(source: str) -> Sequence[ast.AST]:
    return tuple(ast.walk(ast.parse(source)))


def defined(tree: Sequence[ast.AST]) -> Iterator[str]:
    """The private names that a file gives to what is its own."""
    for node in tree:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


@cache
def ours() -> frozenset[str]:
    """The private names that the code of this repository defines, and the names of its private modules."""
    found = {name for path in sources() for name in defined(parsed(path))}
    return frozenset(name for name in found if PRIVATE.match(name)) | {path.stem for path in sources()}


def imports(tree: Sequence[ast.AST]) -> dict[str, str]:
    """Of each name that a file imports from a library, the module that it comes from."""
    found = {}
    for node in tree:
        if isinstance(node, ast.Import):
            found.update({(one.asname or one.name).partition(".")[0]: one.name for one in node.names})
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.update({one.asname or one.name: f"{node.module}.{one.name}" for one in node.names})
    return {name: module for name, module in found.items() if module.partition(".")[0] not in OURS}


def foreign(tree: Sequence[ast.AST], known: frozenset[str]) -> list[str]:
    """The uses of private names of libraries in a file."""
    libraries = imports(tree)
    found: list[str] = []
    for node in tree:
        match node:
            case ast.ImportFrom(module=str(module), names=names):
                parts = [*module.split("."), *(one.name for one in names)]
                bad = module.partition(".")[0] not in OURS and any(map(PRIVATE.match, parts))
            case ast.Import(names=names):
                parts = [part for one in names for part in one.name.split(".")]
                bad = parts[0] not in OURS and any(map(PRIVATE.match, parts))
            case ast.Attribute(attr=name) if PRIVATE.match(name) and name not in DOCUMENTED:
                bad = name not in known or _root(node) in libraries
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "hasattr"), args=[_, ast.Constant(value=str(name)), *_]
            ):
                bad = bool(PRIVATE.match(name)) and name not in known
            case ast.ClassDef(bases=bases) if any(_root(base) in libraries for base in bases):
                found.extend(inherited(node, set(defined(tree))))
                continue
            case _:
                continue
        if bad:
            found.append(ast.unparse(node))
    return found


def inherited(subclass: ast.ClassDef, known: set[str]) -> Iterator[str]:
    """The private attributes that a subclass of a library's class uses, and that its file does not define."""
    for node in ast.walk(subclass):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if PRIVATE.match(name):
                if name not in known and name not in DOCUMENTED:
                    yield ast.unparse(node)


def _root(node: ast.AST) -> str | None:
    """The name at which a chain of attributes begins."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def test_no_private_name_of_a_library_is_used() -> None:
    uses = {f"{path.relative_to(ROOT)}: {use}" for path in sources() for use in foreign(parsed(path), ours())}
    assert uses == ALLOWED.keys()


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("import aiosqlite\naiosqlite.Connection._connect", True),
        ("connection._thread.start()", True),
        ("import asyncio\nasyncio.Handle._ours = 1", True),  # although we have something of that name
        ("from uvicorn._types import ASGI3Application", True),
        ("import uvicorn._types", True),
        ("from starlette.responses import _private", True),
        ("getattr(connection, '_thread')", True),
        ("import aiosqlite\nclass Own(aiosqlite.Connection):\n def go(self): self._ours()", True),
        ("import aiosqlite\nclass Own(aiosqlite.Connection):\n def _ours(self): self._ours()", False),
        ("from app.main import _private", False),
        ("value._ours", False),
        ("value._asdict()", False),
        ("value.__class__", False),
    ],
)
def test_what_counts_as_a_private_name_of_a_library(source: str, refused: bool) -> None:
    assert bool(foreign(nodes(source), frozenset({"_ours"}))) == refused
