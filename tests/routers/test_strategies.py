"""The strategies over HTTP."""

from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from tcsfeel.selection import STRATEGIES, installed, registry, tunable
from tcsfeel.selection.parameters import Parameter
from tests.api import Api

DEEP = Parameter(name="depth", default=3, minimum=1, maximum=8.5, meaning="how deep it goes")


@tunable(DEEP)
def described(*_arguments: Any, **_keywords: Any) -> Any:
    """Somebody else's.

    In detail.
    """


def silent(*_arguments: Any, **_keywords: Any) -> Any: ...


@pytest.fixture
def third_parties(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A package on the disk with two strategies, as a package manager leaves it; and an entry point without one."""
    place = tmp_path / "deep_choice-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: deep-choice\nVersion: 1.0\n")
    lines = [f"[{registry.ENTRY_POINTS}]", f"deep = {__name__}:described", f"quiet = {__name__}:silent"]
    (place / "entry_points.txt").write_text("\n".join(lines))
    found = Distribution.at(place).entry_points
    alone = EntryPoint("alone", f"{__name__}:silent", registry.ENTRY_POINTS)
    points = EntryPoints([*found, alone])
    monkeypatch.setattr(registry, "entry_points", lambda *, group: points.select(group=group))
    installed.cache_clear()
    yield
    installed.cache_clear()


async def strategies(api: Api) -> dict[str, dict[str, Any]]:
    response = await api.http.get("/v1/strategies")
    assert response.status_code == 200, response.text
    assert response.json().keys() == {"items"}
    items = response.json()["items"]
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    return {item["name"]: item for item in items}


async def test_the_strategies_of_this_package_are_listed_with_their_parameters(sqlite_api: Api) -> None:
    found = await strategies(sqlite_api)

    assert found.keys() == STRATEGIES.keys()
    assert {item["source"] for item in found.values()} == {"built in"}
    assert all(item["summary"].endswith(".") for item in found.values())
    assert all(parameter["meaning"] for item in found.values() for parameter in item["parameters"])
    assert found["random"]["parameters"] == []
    (target,) = found["tcs-feel"]["parameters"]
    assert {name: target[name] for name in ("name", "default", "minimum", "maximum")} == {
        "name": "divergence_target",
        "default": 0.02,
        "minimum": 0.0,
        "maximum": 100.0,
    }


async def test_the_documented_example_is_what_is_answered(sqlite_api: Api) -> None:
    (example,) = sqlite_api.app.openapi()["components"]["schemas"]["StrategyOut"]["examples"]
    assert (await strategies(sqlite_api))[example["name"]] == example


@pytest.mark.usefixtures("third_parties")
async def test_strategies_of_other_packages_are_listed_with_the_package(sqlite_api: Api) -> None:
    found = await strategies(sqlite_api)

    assert found.keys() == STRATEGIES.keys() | {"deep", "quiet", "alone"}
    assert found["deep"] == {
        "name": "deep",
        "summary": "Somebody else's.",
        "source": "deep-choice",
        "parameters": [{"name": "depth", "default": 3, "minimum": 1, "maximum": 8.5, "meaning": "how deep it goes"}],
    }
    assert found["quiet"] == {"name": "quiet", "summary": "", "source": "deep-choice", "parameters": []}
    assert found["alone"]["source"] == __name__  # the module, where no package is known


@pytest.mark.usefixtures("third_parties")
async def test_the_parameters_of_other_packages_are_checked_alike(sqlite_api: Api) -> None:
    body = {"strategy": "deep", "parameters": {"depth": 9}}
    response = await sqlite_api.http.post("/v1/selections", json=body)
    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": "/parameters/depth", "detail": "should be from 1 to 8.5, is 9"}]
