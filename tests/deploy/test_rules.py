"""The alerts and dashboards are complete, and name what exists."""

import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from fastapi import FastAPI

from app.main import create_app
from tests.deploy.rules import (
    ALERTS,
    DASHBOARDS,
    DEPLOY,
    ENVIRONMENT,
    METRIC,
    MISSING,
    PROMTOOL,
    TESTS,
    alerts,
    dashboard,
    panels,
)  # fmt: skip
from tests.docs.pages import ROOT, anchors
from tests.planes import settings

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=MISSING)


@pytest.fixture
def app(tmp_path: Path, sqlite_url: str) -> FastAPI:
    return create_app(settings(tmp_path, sqlite_url))


def promtool(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603  (the command is ours)
        [str(PROMTOOL), *arguments], cwd=ALERTS.parent, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_accepts_the_example_of_its_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


@needs_promtool
def test_prometheus_accepts_the_alerts() -> None:
    promtool("check", "rules", "--lint-fatal", ALERTS.name)


@needs_promtool
def test_each_alert_is_silent_before_its_trouble_and_fires_in_it() -> None:
    promtool("test", "rules", TESTS.name)


def test_each_alert_has_a_test_in_which_it_is_silent_and_one_in_which_it_fires() -> None:
    tests: list[dict[str, Any]] = yaml.safe_load(TESTS.read_text())["tests"]
    assert sorted(test["name"] for test in tests) == sorted(alert.name for alert in alerts())
    for test in tests:
        wanted = f'count(ALERTS{{alertname="{test["name"]}",alertstate="firing"}})'
        assert [look["expr"] for look in test["promql_expr_test"]] == [wanted, wanted]
        assert [[sample["value"] for sample in look["exp_samples"]] for look in test["promql_expr_test"]] == [[], [1]]


def test_each_alert_leads_to_a_section_of_its_own_that_begins_with_the_symptom() -> None:
    text = (ROOT / "docs/runbooks.md").read_text()
    known = anchors(ROOT / "docs/runbooks.md")
    places = [alert.runbook for alert in alerts()]
    assert len(set(places)) == len(places)
    for alert in alerts():
        page, _, anchor = alert.runbook.partition("#")
        assert page == "docs/runbooks.md"
        assert anchor in known, alert.name
        assert alert.severity in {"page", "ticket"}
    sections = text.split("\n## ")[1:]
    assert len(sections) == len(places), "a section without an alert"
    assert all("\n\n*You see:* " in section for section in sections)


def names_of(families: Any) -> set[str]:
    """The names of all series that metrics of these families can have."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "summary": ["_sum", "_count"]}
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, [""])}


async def test_alerts_and_dashboards_name_metrics_that_exist(app: FastAPI) -> None:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://plane") as http:
        await http.get("/healthz")  # the first request makes the metrics of HTTP
    known = names_of(app.state.system.metrics.registry.collect())
    for name, expr in [(alert.name, alert.expr) for alert in alerts()] + list(panels()):
        assert set(METRIC.findall(expr)) <= known, name


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_complete(path: Path) -> None:
    page = dashboard(path)
    shown = page["panels"]
    assert [panel["id"] for panel in shown] == list(range(1, len(shown) + 1))
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        if panel["type"] != "row":
            assert panel["title"]
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    corners = sorted((panel["gridPos"]["y"], panel["gridPos"]["x"], panel["gridPos"]["w"]) for panel in shown)
    for (y, x, width), (next_y, next_x, _) in pairwise(corners):
        assert next_y > y or next_x >= x + width, "panels cover each other"


def test_dashboards_have_ids_of_their_own_and_are_provisioned() -> None:
    assert len({dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS) >= 2
    provisioning = DEPLOY / "grafana" / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/tcsfeel.yml").read_text())["providers"]
    assert provider["type"] == "file"
    (source,) = yaml.safe_load((provisioning / "datasources/tcsfeel.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
