"""Lists to their end."""

import asyncio
import json
import subprocess
import sys
from typing import Annotated, Any

import pandas as pd
import pytest
from pydantic import BaseModel

from tcsfeel.client import AsyncClient, Client, UnexpectedAnswer
from tcsfeel.client.pages import table
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.strategies import StrategyOut
from tests.tcsfeel.client.callers import QUICK
from tests.tcsfeel.client.servers import answer, scripted


def page(numbers: list[int], cursor: str | None) -> bytes:
    items = [
        {"round": number, "sha256": "x", "parent": None, "size": number, "created_at": "2026-11-24T11:34:09Z"}
        | {"accuracy": None, "pinned": False, "removed_at": None}
        for number in numbers
    ]
    return answer(200, json.dumps({"items": items, "next_cursor": cursor}).encode())


PAGES = (page([4, 3], "a"), page([], "b"), page([2], "c"), page([1, 0], None))


def test_a_page_may_end_early_and_only_the_cursor_says_that_there_is_no_more() -> None:
    with scripted(*PAGES) as server, Client(server.url, patience=QUICK) as client:
        assert [model.round for model in client.models("t1")] == [4, 3, 2, 1, 0]
    queries = [request.split(b" ")[1] for request in server.requests]
    assert queries[0] == b"/v1/trainings/t1/models?limit=1000"
    assert queries[1:] == [b"/v1/trainings/t1/models?limit=1000&cursor=" + cursor for cursor in (b"a", b"b", b"c")]


async def test_the_same_in_an_event_loop() -> None:
    with scripted(*PAGES) as server:
        async with AsyncClient(server.url, patience=QUICK) as client:
            assert [model.round async for model in client.models("t1")] == [4, 3, 2, 1, 0]


def test_a_page_is_read_when_it_is_asked_for() -> None:
    with scripted(*PAGES) as server, Client(server.url, patience=QUICK) as client:
        models = iter(client.models("t1"))
        assert [next(models).round, next(models).round] == [4, 3]
        assert len(server.requests) == 1


def test_a_list_that_goes_round_in_circles_ends() -> None:
    with (
        scripted(page([1], "a"), page([1], "a")) as server,
        Client(server.url, patience=QUICK) as client,
        pytest.raises(UnexpectedAnswer, match="same next_cursor twice"),
    ):
        list(client.models("t1"))


EMPTY = [page([], str(number)) for number in range(101)]


def test_a_list_with_ever_new_cursors_and_no_items_ends() -> None:
    with (
        scripted(*EMPTY) as server,
        Client(server.url, patience=QUICK) as client,
        pytest.raises(UnexpectedAnswer, match="100 pages in a row had no items"),
    ):
        list(client.models("t1"))


async def test_such_a_list_ends_in_an_event_loop_too() -> None:
    with scripted(*EMPTY) as server:
        async with AsyncClient(server.url, patience=QUICK) as client:
            with pytest.raises(UnexpectedAnswer, match="100 pages in a row had no items"):
                await anext(aiter(client.models("t1")))


def test_a_table_has_a_row_for_each_item_and_a_column_for_each_field() -> None:
    with scripted(*PAGES) as server, Client(server.url, patience=QUICK) as client:
        models = client.models("t1").to_pandas()
    assert list(models["round"]) == [4, 3, 2, 1, 0]
    assert {"sha256", "accuracy", "created_at"} <= set(models.columns)

    async def asynchronous() -> list[int]:
        async with AsyncClient(server.url, patience=QUICK) as client:
            return list((await client.models("t1").to_pandas())["round"])

    with scripted(*PAGES) as server:
        assert asyncio.run(asynchronous()) == [4, 3, 2, 1, 0]


WITHOUT = """
import sys
sys.modules[{missing!r}] = None
import tcsfeel
try:
    {use}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "use", "said"),
    [
        ("pandas", "from tcsfeel.client.pages import table; table([])", "pip install 'tcsfeel[pandas]'"),
        ("pydantic", "from tcsfeel import Client", "pip install 'tcsfeel[client]'"),
        ("pydantic", "import tcsfeel.client", "pip install 'tcsfeel[client]'"),
        ("pydantic", "import tcsfeel.rest.transport; print('it works')", "it works"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(missing: str, use: str, said: str) -> None:
    script = WITHOUT.format(missing=missing, use=use)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603  (our own)
    assert said in result.stdout


def test_a_map_is_one_column_of_a_table_and_a_nested_model_has_one_for_each_field() -> None:
    class Inner(BaseModel):
        parents: dict[str, str | None]
        links: list[int]

    class Outer(BaseModel):
        number: int
        plan: Inner | None

    parents = {f"edge-{number}": None for number in range(1000)}
    found = table([Outer(number=1, plan=Inner(parents=parents, links=[3])), Outer(number=2, plan=None)])
    assert list(found.columns) == ["number", "plan.parents", "plan.links"]
    assert (found["plan.parents"][0], found["plan.parents"][1]) == (parents, None)
    assert list(table([Outer(number=2, plan=None)]).columns) == list(found.columns)


def test_a_table_has_columns_for_each_metric_by_name() -> None:
    class Summary(BaseModel):
        mean: float

    class Measured(BaseModel):
        metrics: Annotated[dict[str, Summary] | None, "by name"]
        number: int

    found = table(
        [
            Measured(metrics={"rmse": Summary(mean=0.5)}, number=1),
            Measured(metrics={"mae": Summary(mean=0.25)}, number=2),
            Measured(metrics=None, number=3),
        ]
    )
    assert list(found.columns) == ["metrics.mae.mean", "metrics.rmse.mean", "number"]
    assert found["metrics.rmse.mean"][0] == 0.5
    assert found["metrics.rmse.mean"].isna().tolist() == [False, True, True]


def test_the_columns_of_rounds_do_not_depend_on_what_is_null() -> None:
    nothing: dict[str, Any] = dict.fromkeys(RoundOut.model_fields)
    columns = table([RoundOut.model_construct(**nothing)]).columns
    assert {"training_id", "target_doubt.client_id", "target_doubt.mean", "plan.parents"} <= set(columns)
    assert not {"target_doubt", "plan", "metrics"} & set(columns)


@pytest.mark.parametrize("tags", ["site:a", ["site:a"], ("site:a",)])
def test_a_single_tag_is_one_tag(tags: str | list[str] | tuple[str, ...]) -> None:
    with scripted(page([], None)) as server, Client(server.url, patience=QUICK) as client:
        list(client.clients(tags=tags))
    assert server.requests[0].startswith(b"GET /v1/clients?tag=site%3Aa&limit=1000 ")


def test_a_table_of_other_models_names_their_fields() -> None:
    strategy = StrategyOut(name="random", summary="By chance", source="built in", parameters=[])
    assert isinstance(table([strategy]), pd.DataFrame)
    assert list(table([strategy])["name"]) == ["random"]
