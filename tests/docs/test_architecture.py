"""The walks through the code."""

import ast
from typing import get_args

from app.domain.clients import ClientStatus
from app.domain.rounds import ParticipationStatus, RoundStatus
from app.domain.trainings import TrainingStatus
from tests.docs.pages import CODE, FENCE, ROOT, page


def defined() -> set[str]:
    """The names of classes, functions and methods, the last ones with their class."""
    found: set[str] = set()
    for path in (path for top in ("app", "sdk/tcsfeel") for path in (ROOT / top).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign | ast.Assign):
                names = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
                found.update(name.id for name in names if isinstance(name, ast.Name))
            if isinstance(node, ast.ClassDef):
                functions = [part for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)]
                found.update(f"{node.name}.{part.name}" for part in functions)
    return found


def test_the_walks_through_the_code_lead_to_what_is_there() -> None:
    named = {code for code in CODE.findall(FENCE.sub("", page("architecture.md"))) if " " not in code}
    statuses = {
        *get_args(RoundStatus),
        *get_args(ParticipationStatus),
        *get_args(TrainingStatus),
        *get_args(ClientStatus),
    }
    events = {"client.registered", "client.updated"}
    packages = {"tcsfeel", "tcsfeel.commands", "serve", "migrate", "secrets", "demo"}
    known = defined()
    for name in named - statuses - events - packages:
        rooms = [ROOT, *(ROOT / "app").iterdir(), *(ROOT / "sdk" / "tcsfeel").iterdir()]
        assert name in known or any((room / name).exists() for room in rooms), name
