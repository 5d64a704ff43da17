"""gRPC on Kubernetes: off in the base and the chart; where it is on, both have the same, and it is valid."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from app.rpc.messages import SERVICE
from tests.deploy.manifests import BASE, CHART, VERSIONS, base, built, checked, files, linted, validated

COMPONENT = BASE / "grpc"
ENABLED = {"enabled": True}


def overlay(directory: Path) -> Path:
    """Make an overlay of a copy of the base, with gRPC."""
    shutil.copytree(BASE, directory / "base")
    made = directory / "overlay"
    made.mkdir()
    (made / "kustomization.yaml").write_text("resources: [../base]\ncomponents: [../base/grpc]\n")
    return made


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> str:
    status, made = built(overlay(tmp_path_factory.mktemp("overlay")))
    assert status == 0, made
    return made


@cache
def of_the_chart() -> str:
    good, said = linted(CHART, grpc=ENABLED)
    assert good, said
    return said


def parts(text: str) -> dict[str, Any]:
    """What manifests have for gRPC."""
    made = [one for one in yaml.safe_load_all(text) if one]
    found = {one["kind"]: one.get("spec") for one in made if one["kind"] != "Ingress"}
    ingresses = [one for one in made if one["kind"] == "Ingress"]
    (container,) = found["Deployment"]["template"]["spec"]["containers"]
    return {
        "arguments": container["args"],
        "ports": container["ports"],
        "service": found["Service"]["ports"],
        "policy": found["NetworkPolicy"]["ingress"],
        "ingresses": sorted(([paths(one), one["metadata"]["annotations"]] for one in ingresses), key=str),
    }


def paths(ingress: dict[str, Any]) -> list[tuple[str, str]]:
    """The paths of an ingress, each with the port to which it leads."""
    (rule,) = ingress["spec"]["rules"]
    return [(one["path"], one["backend"]["service"]["port"]["name"]) for one in rule["http"]["paths"]]


def test_the_ingress_leads_to_each_service_that_a_server_has_and_is_otherwise_that_of_rest() -> None:
    own, rest = yaml.safe_load((COMPONENT / "ingress.yaml").read_text()), files()["Ingress"]
    served = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    assert paths(own) == [(f"/{service}", "grpc") for service in served]
    protocol = {"nginx.ingress.kubernetes.io/backend-protocol": "GRPC"}
    assert own["metadata"]["annotations"] == {**rest["metadata"]["annotations"], **protocol}
    assert own["spec"]["tls"] == rest["spec"]["tls"]
    assert own["spec"]["rules"][0]["host"] == rest["spec"]["rules"][0]["host"]
    values = yaml.safe_load((CHART / "values.yaml").read_text())["grpc"]
    assert values == {"enabled": False, "from": ["ingress-nginx"], "ingressAnnotations": protocol}


def test_without_the_component_there_is_no_grpc() -> None:
    assert "50051" not in base()
    assert "grpc" not in base()
    good, said = linted(CHART)
    assert good, said
    assert "50051" not in said
    assert "grpc" not in said


@pytest.mark.parametrize("version", VERSIONS)
def test_the_component_is_valid(version: str, manifests: str, tmp_path: Path) -> None:
    status, said = validated(manifests, tmp_path, version)
    assert status == 0, said
    assert said.count(" passed ") == len(files()) + 1


def test_the_checks_of_security_find_nothing_in_the_component(manifests: str, tmp_path: Path) -> None:
    status, said = checked(manifests, tmp_path)
    assert status == 0, said


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("containerPort: 50051", "containerPort: grpc"),
        ("appProtocol: kubernetes.io/h2c", "appProtcol: kubernetes.io/h2c"),
        ("path: /tcsfeel.v1.TopologyService", "paths: /tcsfeel.v1.TopologyService"),
        ('- "50051"', "- 50051"),
    ],
)
def test_a_bad_copy_of_its_manifests_is_refused(right: str, wrong: str, manifests: str, tmp_path: Path) -> None:
    assert right in manifests
    status, _ = validated(manifests.replace(right, wrong), tmp_path)
    assert status != 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("path: /spec/ports/-", "path: /spec/port/-"),
        ("{kind: NetworkPolicy, name: tcsfeel}", "{kind: NetworkPolicy, nam: tcsfeel}"),
        ("ingress.yaml", "ingres.yaml"),
    ],
)
def test_kustomize_refuses_a_bad_copy(right: str, wrong: str, tmp_path: Path) -> None:
    copy = overlay(tmp_path)
    file = tmp_path / "base" / "grpc" / "kustomization.yaml"
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    status, said = built(copy)
    assert status != 0, said


def test_the_chart_and_the_component_have_the_same(manifests: str, tmp_path: Path) -> None:
    status, found = validated(of_the_chart(), tmp_path)
    assert status == 0, found
    assert found.count(" passed ") == len(files())
    own, chart = parts(manifests), parts(of_the_chart())
    assert own == chart
    assert len(own["ingresses"]) == 2
    assert own["arguments"][-2:] == ["--grpc-port", "50051"]
    assert own["ports"][-1] == {"name": "grpc", "containerPort": 50051}
    assert own["service"][-1]["targetPort"] == own["policy"][-1]["ports"][0]["port"] == "grpc"


@pytest.mark.parametrize(
    "values",
    [
        {**ENABLED, "from": []},
        {"enabled": "yes"},
        {**ENABLED, "port": 50052},
        {**ENABLED, "ingressAnnotations": {"a": 1}},
    ],
    ids=["nobody may call", "no boolean", "unknown", "no text"],
)
def test_helm_refuses_wrong_values(values: dict[str, Any]) -> None:
    good, said = linted(CHART, grpc=values)
    assert not good
    assert "grpc" in said


def test_helm_refuses_a_bad_copy_of_a_template(tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "tcsfeel")
    file = copy / "templates" / "ingress-grpc.yaml"
    right = ".Values.grpc.ingressAnnotations"
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, ".Values.gprc.ingressAnnotations"))
    good, said = linted(copy, grpc=ENABLED)
    assert not good, said


def test_coordinators_in_the_cluster_may_be_let_in() -> None:
    good, said = linted(CHART, grpc={**ENABLED, "from": ["ingress-nginx", "coordinators"]})
    assert good, said
    rule = parts(said)["policy"][-1]
    assert [one["namespaceSelector"]["matchLabels"] for one in rule["from"]] == [
        {"kubernetes.io/metadata.name": name} for name in ("ingress-nginx", "coordinators")
    ]
