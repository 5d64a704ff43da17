"""The manifests for Kubernetes, as kustomize and Helm make them, and what checks them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.validators import INSTALLED, ROOT, ran, tool

BASE = ROOT / "deploy" / "kubernetes"
CHART = ROOT / "deploy" / "helm" / "tcsfeel"
VERSIONS = ("1.30.0", "1.32.0", "1.34.0")
# The image and its digest are those of your registry; tags name versions, so they need not be pulled each time; the
# settings of the program are variables.
NOT_OURS = "CKV_K8S_43,CKV_K8S_15,CKV_K8S_35"
LINT = """
import json, sys
import helm_python as helm
try:
    found = helm.lint(sys.argv[1], strict=True)
    with helm.Chart.load(sys.argv[1]) as chart:
        made = chart.render(json.loads(sys.argv[2]), name="federation", namespace="tcsfeel")
except helm.HelmError as error:
    sys.exit(str(error))
if found["errors"] or any(message["severity"] > 1 for message in found["messages"]):
    sys.exit(json.dumps(found))
print("\\n---\\n".join(text for text in made.values() if text.strip()))
"""


def built(directory: Path) -> tuple[int, str]:
    """Make the manifests of a kustomization, or tell what is wrong with it."""
    made = ran(tool("kubectl"), "kustomize", directory)
    return made.returncode, made.stdout


@cache
def base() -> str:
    """Return the manifests of the base."""
    status, made = built(BASE)
    assert status == 0, made
    return made


def files() -> dict[str, Any]:
    """The objects of the base by kind, as their files have them."""
    named = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    found = [yaml.safe_load((BASE / name).read_text()) for name in named]
    return {one["kind"]: one for one in found}


def validated(text: str, tmp_path: Path, version: str = VERSIONS[-1]) -> tuple[int, str]:
    """Compare manifests with the schemas of a version of Kubernetes."""
    file = tmp_path / "manifests.yaml"
    file.write_text(text)
    found = ran(tool("kubernetes-validate"), "--strict", "-k", version, file)
    return found.returncode, found.stdout


def checked(text: str, tmp_path: Path) -> tuple[int, str]:
    """Let checkov look for what is not secure in manifests."""
    file = tmp_path / "checked.yaml"
    file.write_text(text)
    found = ran(
        tool("checkov"), "--framework", "kubernetes", "--skip-download", "--quiet", "--compact",
        "--skip-check", NOT_OURS, "-f", file,
    )  # fmt: skip
    return found.returncode, found.stdout


def linted(chart: Path, **values: Any) -> tuple[bool, str]:
    """Lint the chart and make its manifests, as Helm does. They follow, or what is wrong."""
    python = INSTALLED / "python"
    if not python.exists() or ran(python, "-c", "import helm_python").returncode:
        pytest.skip("there is no Helm: `make validators` installs it")
    found = ran(python, "-c", LINT, chart, json.dumps(values))
    return found.returncode == 0, found.stdout
