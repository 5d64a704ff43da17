"""The alerts and dashboards, taken apart."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
TESTS = DEPLOY / "prometheus" / "alerts.test.yml"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
PROMTOOL, PROMETHEUS = shutil.which("promtool"), shutil.which("prometheus")
MISSING = "Prometheus is not installed on this machine (on Debian and Ubuntu: apt-get install prometheus)"
ENVIRONMENT = {"PATH": os.environ["PATH"]}
METRIC = re.compile(r"\b(?:federated|http)_[a-z_]+\b")
OFFSET = re.compile(r" offset \d+m")
COMPARED = re.compile(r" (>=|>|<|==) ")


class Alert(NamedTuple):
    """An alert of the rules."""

    name: str
    expr: str
    severity: str
    runbook: str


class Panel(NamedTuple):
    """An expression of a panel of a dashboard."""

    name: str
    expr: str


def alerts() -> list[Alert]:
    groups: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"]
    return [
        Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"]["runbook"])
        for group in groups
        for rule in group["rules"]
    ]


def dashboard(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels() -> list[Panel]:
    """Every expression of every panel, with the variables of Grafana replaced as a viewer's would be."""
    return [
        Panel(f"{path.stem}: {panel['title']} {target['refId']}", filled(target["expr"]))
        for path in DASHBOARDS
        for panel in dashboard(path)["panels"]
        for target in panel.get("targets", [])
    ]


def filled(expr: str) -> str:
    return expr.replace("$__rate_interval", "1m").replace("$training", ".*")


def always(expr: str) -> str:
    """An alert's expression with 0 and 1 in place of comparisons: it has a value whenever its metrics have.

    Where it looks back further than a test can wait, it looks at now.
    """
    return OFFSET.sub("", COMPARED.sub(r" \1 bool ", expr))
