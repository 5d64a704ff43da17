"""What the pages say against what the code does: links, names, defaults, and examples that run."""

import ast
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from xml.etree import ElementTree as ET

import httpx
import numpy as np
import pytest
import typer
from fastapi import FastAPI
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app import problems
from app.cli import cli
from app.domain.clients import ClientStatus
from app.domain.connectivity import Connectivity
from app.domain.rounds import ParticipationStatus, RoundStatus
from app.domain.selection import STRATEGIES, Candidate, History, SelectionPolicy, parameters_of
from app.domain.trainings import Aggregation, TrainingStatus
from app.main import create_app
from app.settings import PREFIX, Settings
from app.wire import codec
from tests.e2e.servers import free_port

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`]+)`")
OPERATION = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`]*)`")


def page(name: str) -> str:
    return (DOCS / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    return [match[2] for match in FENCE.finditer(text) if match[1] == language]


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the tables under a heading, without their head."""
    section = re.split(r"^## ", text.split(f"\n## {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    rules = [number for number, cells in enumerate(table) if set("".join(cells)) == {"-"}]
    return [cells for number, cells in enumerate(table) if number not in rules and number + 1 not in rules]


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_of_the_project_and_a_heading_in_it(path: Path) -> None:
    for link in LINK.findall(prose(path)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def defined() -> set[str]:
    """The names of classes, functions and methods, the last ones with their class."""
    found: set[str] = set()
    for path in (ROOT / "app").rglob("*.py"):
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
    packages = {"agent", "cli", "demo", "schemas", "wire"}
    known = defined()
    for name in named - statuses - events - packages:
        rooms = [ROOT, *(ROOT / "app").iterdir()]
        assert name in known or any((room / name).exists() for room in rooms), name


def test_the_picture_is_small_complete_and_says_what_it_shows() -> None:
    text = (DOCS / "overview.svg").read_text()
    assert len(text) < 20_000
    picture = ET.fromstring(text)  # noqa: S314  (our own file)
    assert [part.tag.rpartition("}")[2] for part in picture[:2]] == ["title", "desc"]
    assert all(part.text for part in picture[:2])
    assert not re.search(r"href|@import|url\(", text)


def leaves(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from leaves(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", field


def shown(value: object) -> str:
    """A default as the table writes it."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:.12g}"
        case ():
            return "[]"
    return str(value)


def allowed(field: FieldInfo) -> str | None:
    """What a setting may be, in the table's words; None where the type does not say."""
    if field.annotation is bool:
        return "`true` or `false`"
    if get_origin(field.annotation) is Literal:
        *others, last = (f"`{value}`" for value in get_args(field.annotation))
        return f"{', '.join(others)} or {last}"
    bounds: dict[str, Any] = {}
    for rule in field.metadata:
        bounds |= {name: getattr(rule, name) for name in ("ge", "le", "gt") if hasattr(rule, name)}
    match bounds:
        case {"ge": least, "le": most}:
            return f"{least:g} to {most:.12g}"
        case {"gt": least, "le": most}:
            return f"above {least:g}, at most {most:.12g}"
        case {"ge": least}:
            return f"at least {least:g}"
    return None


def test_the_settings_are_listed_with_their_defaults_and_bounds_and_no_others() -> None:
    table = {cells[0].strip("`"): cells for cells in rows(page("operations.md"), "Settings")}
    settings = dict(leaves(Settings))
    assert list(table) == list(settings)
    for name, field in settings.items():
        _, default, bounds, _ = table[name]
        if field.default is None:
            assert default.startswith("none: "), name
        else:
            assert default == f"`{shown(field.default)}`", name
        assert allowed(field) in {bounds, None}, name


def test_pages_name_no_variable_that_does_not_exist() -> None:
    known = {name for name, _ in leaves(Settings)}
    for command in commands().values():
        known |= {option.envvar for option in command.params if isinstance(option.envvar, str)}
    for path in PAGES:
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", path.read_text()))
        assert named - {f"{PREFIX}TEST_POSTGRES_URL"} <= known, path


def commands() -> dict[str, Any]:
    group = typer.main.get_command(cli)
    return dict(vars(group)["commands"])


def test_the_commands_are_listed_with_options_that_they_have() -> None:
    listed = {}
    for cells in rows(page("operations.md"), "The command line"):
        _, name, *_ = cells[0].strip("`").split()
        listed[name] = set(re.findall(r"--[a-z-]+", cells[0]))
    known = commands()
    assert listed.keys() == known.keys()
    for name, options in listed.items():
        assert options <= {text for option in known[name].params for text in option.opts}, name


async def test_the_metrics_are_listed_with_their_types_and_labels(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://plane") as http:
        await http.get("/healthz")  # the first request makes the metrics of HTTP
    table = {}
    for name, kind, labels, _ in rows(page("operations.md"), "Metrics"):
        table[name.strip("`").removesuffix("_total")] = (kind, set(CODE.findall(labels)))
    metrics = app.state.system.metrics
    families = {family.name: family for family in metrics.registry.collect()}
    assert {name: table[name][0] for name in table} == {name: family.type for name, family in families.items()}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            assert table[metric._name][1] == set(metric._labelnames), metric._name


def emitted() -> tuple[set[str], set[str]]:
    """The types of events in the code: those that are written out, and patterns of those that are put together."""
    literals, patterns = set(), set()
    for path in (ROOT / "app").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            on_events = isinstance(call.func.value, ast.Attribute) and call.func.value.attr == "events"
            if not (call.func.attr == "_note" or (call.func.attr == "append" and on_events)):
                continue
            for argument in call.args:
                inside = {
                    id(part) for text in ast.walk(argument) if isinstance(text, ast.JoinedStr) for part in text.values
                }
                for text in ast.walk(argument):
                    if isinstance(text, ast.JoinedStr):
                        parts = (
                            re.escape(str(p.value)) if isinstance(p, ast.Constant) else "[a-z_]+" for p in text.values
                        )
                        patterns.add("".join(parts))
                    elif isinstance(text, ast.Constant) and isinstance(text.value, str) and id(text) not in inside:
                        literals.add(text.value)
    return literals, patterns


def test_the_events_are_those_that_the_code_writes() -> None:
    listed = {name for cells in rows(page("operations.md"), "Events") for name in CODE.findall(cells[0])}
    literals, patterns = emitted()
    assert literals <= listed
    assert all(any(re.fullmatch(pattern, name) for name in listed) for pattern in patterns)
    assert all(any(re.fullmatch(pattern, name) for pattern in patterns) for name in listed - literals)


def test_every_operation_is_described_and_every_described_one_exists(app: FastAPI) -> None:
    described = {(method, re.sub(r"\{\w+\}", "{}", path)) for method, path in OPERATION.findall(page("rest.md"))}
    existing = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    }
    assert described == existing


def test_every_field_of_requests_and_responses_is_named(app: FastAPI) -> None:
    text = page("rest.md")
    schemas = app.openapi()["components"]["schemas"]
    fields = {name for schema in schemas.values() for name in schema.get("properties", {})}
    assert {name for name in fields if not re.search(rf"\b{name}\b", text)} == set()


def test_the_aggregation_rules_are_listed() -> None:
    table = page("rest.md").split("\n| `aggregation` | what it does |")[1].split("\n\n")[0]
    listed = [rule for line in table.splitlines()[1:] for rule in CODE.findall(line.split("|")[1])]
    assert sorted(listed) == sorted(get_args(Aggregation))


def test_the_types_of_errors_are_listed_with_their_statuses() -> None:
    section = page("rest.md").split("### Errors")[1].split("\n### ")[0]
    listed = set(re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", section, re.MULTILINE))
    known = {(str(int(kind.status)), kind.name) for kind in problems.CATALOG.values()}
    assert known - listed == {
        ("422", "update-rejected"),
        ("409", "unusable-round"),
    }  # what agents send, never an answer
    assert listed - known <= {("405", "method-not-allowed"), ("500", "internal"), ("501", "not-implemented")}


def test_the_protocol_lists_the_dtypes_of_the_codec() -> None:
    (listed,) = re.findall(r"`dtype` is one of `([A-Z0-9 ]+)`", page("agent-protocol.md"))
    assert set(listed.split()) == set(codec._DTYPES)


@pytest.mark.parametrize("name", ["agents.md", "selection.md"])
def test_python_examples_run(name: str, run_page: Callable[[str], dict[str, Any]]) -> None:
    assert run_page(name)


def test_the_strategy_of_the_example_selects_the_cheapest(run_page: Callable[[str], dict[str, Any]]) -> None:
    candidates = [
        Candidate(
            client_id=f"c{mbps}", data_size=10, data_distribution=None, compute_capacity=1, bandwidth=mbps, latency=0
        )
        for mbps in (8, 4, 16)
    ]
    policy = SelectionPolicy(min_clients=1, max_clients=2)
    rng = np.random.default_rng(0)
    cheapest = run_page("selection.md")["cheapest"]
    selection = cheapest(candidates, Connectivity.empty(), History(), policy, rng)
    assert selection.client_ids == ("c16", "c8")
    assert [skip.reason for skip in selection.skipped] == ["its link costs 4 s"]  # two times 1 MB at 8 / 4 s/MB
    by_chance = replace(policy, parameters={"chance": 1})
    drawn = [cheapest(candidates, Connectivity.empty(), History(), by_chance, rng).client_ids for _ in range(30)]
    assert any("c4" in client_ids for client_ids in drawn)


def test_the_strategies_and_their_parameters_are_listed_as_they_are() -> None:
    listed = [cells[0].strip("`") for cells in rows(page("selection.md"), "The other strategies") if len(cells) == 2]
    assert sorted(listed) == sorted(STRATEGIES)
    table = [tuple(cells[:4]) for cells in rows(page("selection.md"), "The other strategies") if len(cells) == 5]
    declared = {(name, parameter) for name, strategy in STRATEGIES.items() for parameter in parameters_of(strategy)}
    assert sorted(table) == sorted(
        (f"`{name}`", f"`{one.name}`", f"{one.default:g}", f"{one.minimum:g}, {one.maximum:.12g}")
        for name, one in declared
    )


@pytest.fixture
def run_page(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    def run(name: str) -> dict[str, Any]:
        script = tmp_path / "page.py"
        script.write_text("\n".join(blocks(page(name), "python")))
        return runpy.run_path(str(script))

    return run


def shell(script: str, directory: Path, **variables: str) -> str:
    """The output of a script that has to succeed; what it left running is ended."""
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(directory)}
    with subprocess.Popen(  # noqa: S603  (our own pages)
        ["/bin/bash", "-c", f"trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\nset -euo pipefail\n{script}"],
        cwd=directory,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_the_calls_of_the_rest_page_run_after_the_set_up_of_the_readme(tmp_path: Path) -> None:
    walk = (ROOT / "README.md").read_text().split("## A training with curl")[1].split("\n## ")[0]
    (tmp_path / "my_trainer.py").write_text(blocks(walk, "python")[0])
    port = str(free_port())
    output = shell(
        "\n".join([*blocks(walk, "bash")[:2], *blocks(page("rest.md"), "bash")]),
        tmp_path,
        TCSFEEL_DATA_DIR=str(tmp_path / "data"),
        TCSFEEL_PORT=port,
        TCSFEEL_SERVER=f"http://127.0.0.1:{port}",
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
