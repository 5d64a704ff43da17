"""What there is to set, to call and to see, against the lists of it."""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import click
import httpx2
from fastapi import FastAPI
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app.settings import PREFIX, Settings
from tcsfeel.cli import cli
from tests.docs.pages import CODE, PAGES, page, rows


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
        case float():
            return f"{value:.12g}"
        case tuple() | dict():
            return json.dumps(value)
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
    table = {cells[0].strip("`"): cells for cells in rows(page("settings.md"), "All settings")}
    settings = dict(leaves(Settings))
    assert list(table) == list(settings)
    for name, field in settings.items():
        _, default, bounds, _ = table[name]
        if field.default is None:
            assert default.startswith("none: "), name
        else:
            assert default == f"`{shown(field.default)}`", name
        assert allowed(field) in {bounds, None}, name


def options_of(command: click.Command) -> list[click.Parameter]:
    """The options of a command, or of all commands of a group."""
    if not isinstance(command, click.Group):
        return command.params
    return [option for one in command.commands.values() for option in options_of(one)]


def test_pages_name_no_variable_that_does_not_exist() -> None:
    known = {name for name, _ in leaves(Settings)}
    for command in commands().values():
        for option in options_of(command):
            known |= {option.envvar} if isinstance(option.envvar, str) else set(option.envvar or ())
    for path in PAGES:
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", path.read_text()))
        assert named - {f"{PREFIX}TEST_POSTGRES_URL"} <= known, path


def commands() -> dict[str, Any]:
    context = click.Context(cli)
    return {name: cli.get_command(context, name) for name in cli.list_commands(context)}


def test_the_commands_are_listed_with_options_that_they_have() -> None:
    listed: dict[str, set[str]] = {}
    for cells in rows(page("operations.md"), "The command line"):
        _, name, *_ = cells[0].strip("`").split()
        listed.setdefault(name, set()).update(re.findall(r"--[a-z-]+", cells[0]))
    known = commands()
    assert listed.keys() == known.keys()
    for name, options in listed.items():
        assert options <= {text for option in options_of(known[name]) for text in option.opts}, name


async def test_the_metrics_are_listed_with_their_types_and_labels(app: FastAPI) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://plane") as http:
        await http.get("/healthz")  # the first request makes the metrics of HTTP
    table = {}
    for name, kind, labels, _ in rows(page("metrics.md"), "All metrics"):
        table[name.strip("`").removesuffix("_total")] = (kind, set(CODE.findall(labels)))
    metrics = app.state.system.metrics
    families = {family.name: family for family in metrics.registry.collect()}
    assert {name: table[name][0] for name in table} == {name: family.type for name, family in families.items()}
    for metric in (*vars(metrics).values(), *vars(metrics.state).values()):
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            if documented := table[family.name][1]:
                metric.labels(**dict.fromkeys(documented, "x"))  # which raises where it has others
            (collected,) = metric.collect()
            assert collected.samples, f"{family.name} has labels"
