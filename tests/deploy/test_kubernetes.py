"""The manifests for Kubernetes: the base and the chart are valid, restricted, and say the same."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import BASE, CHART, VERSIONS, base, checked, files, linted, validated


@pytest.mark.parametrize("version", VERSIONS)
def test_the_base_is_valid(version: str, tmp_path: Path) -> None:
    status, said = validated(base(), tmp_path, version)
    assert status == 0, said
    assert said.count(" passed ") == 10


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("maxUnavailable: 0", "maxUnavaliable: 0"),
        ("containerPort: 8080", "containerPort: http"),
        ("backoffLimit: 6", "backoffLimit: six"),
    ],
)
def test_a_bad_copy_is_refused(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in base()
    status, _ = validated(base().replace(right, wrong), tmp_path)
    assert status != 0


def test_the_checks_of_security_find_nothing_in_the_base(tmp_path: Path) -> None:
    status, said = checked(base(), tmp_path)
    assert status == 0, said


@pytest.mark.parametrize(
    ("right", "wrong", "check"),
    [
        ("runAsUser: 10001", "runAsUser: 0", "CKV_K8S_40"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "CKV_K8S_22"),
        ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "CKV_K8S_20"),
    ],
)
def test_the_checks_of_security_find_a_bad_copy(right: str, wrong: str, check: str, tmp_path: Path) -> None:
    assert right in base()
    status, said = checked(base().replace(right, wrong), tmp_path)
    assert status != 0
    assert check in said


def test_pods_meet_the_restricted_standard() -> None:
    found = files()
    assert found["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for kind in ("Deployment", "Job"):
        pod = found[kind]["spec"]["template"]["spec"]
        user = pod["securityContext"]
        assert (user["runAsNonRoot"], user["runAsUser"], user["fsGroup"]) == (True, 10001, 10001)
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
            assert rights["capabilities"] == {"drop": ["ALL"]}


def test_no_variable_that_the_cluster_makes_from_a_service_is_a_setting_of_ours() -> None:
    # For the Service `tcsfeel`, every pod of its namespace would get TCSFEEL_PORT=tcp://ADDRESS:80.
    found = files()
    pods = [found[kind]["spec"]["template"]["spec"] for kind in ("Deployment", "Job")]
    for name in ("deployment", "migration"):
        assert "\n      enableServiceLinks: false\n" in (CHART / "templates" / f"{name}.yaml").read_text()
    assert [pod["enableServiceLinks"] for pod in pods] == [False, False]


def test_probes_ask_different_questions_and_a_database_that_is_away_restarts_nobody() -> None:
    (container,) = files()["Deployment"]["spec"]["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_a_pod_has_time_to_end() -> None:
    pod = files()["Deployment"]["spec"]["template"]["spec"]
    drain = float(files()["ConfigMap"]["data"]["TCSFEEL_COORDINATOR__DRAIN_SECONDS"])
    (container,) = pod["containers"]
    (pause,) = re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > 2 * drain + int(pause)


def test_the_limits_are_the_documented_ones_and_the_pools_fit_into_postgres() -> None:
    found = files()
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert found["Deployment"]["spec"]["replicas"] == 3
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}
    settings = found["ConfigMap"]["data"]
    assert (settings["TCSFEEL_TRAINING__TARGET_ACCURACY"], settings["TCSFEEL_TRAINING__MAX_ROUNDS"]) == ("0.963", "100")
    each = 1 + sum(int(settings[f"TCSFEEL_DATABASE__{name}POOL_SIZE"]) for name in ("", "COORDINATOR_"))
    most = found["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    assert (most + 1) * each + 1 <= 100 - 3


def test_selectors_find_the_pods() -> None:
    found = files()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()


def test_the_migration_is_under_the_network_policy_but_gets_no_calls() -> None:
    job = next(one for one in yaml.safe_load_all(base()) if one["kind"] == "Job")
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert files()["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert not files()["Service"]["spec"]["selector"].items() <= labels.items()


def test_no_secret_is_in_the_base_and_the_example_names_those_that_are_needed() -> None:
    assert "Secret" not in files()
    example = yaml.safe_load((BASE / "secret.example.yaml").read_text())
    assert {"TCSFEEL_DATABASE__URL", "TCSFEEL_AUTH__ADMIN_KEY", "TCSFEEL_AUTH__SECRET_KEYS"} <= example[
        "stringData"
    ].keys()


def test_the_chart_and_the_base_have_the_same_settings_and_limits() -> None:
    values, found = yaml.safe_load((CHART / "values.yaml").read_text()), files()
    (container,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert values["settings"] == found["ConfigMap"]["data"]
    assert values["resources"] == container["resources"]
    assert values["replicas"] == found["Deployment"]["spec"]["replicas"]
    assert values["autoscaling"]["maxReplicas"] == found["HorizontalPodAutoscaler"]["spec"]["maxReplicas"]
    assert values["ingress"]["annotations"] == found["Ingress"]["metadata"]["annotations"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert container["image"] == f"tcsfeel:{chart['appVersion']}"
    kinds = {
        match
        for file in (CHART / "templates").glob("*.yaml")
        for match in re.findall(r"^kind: (\w+)", file.read_text(), re.MULTILINE)
    }
    assert kinds - {"ServiceMonitor"} == found.keys() - {"Namespace"}


def test_every_value_of_the_chart_has_a_comment_and_is_in_the_schema() -> None:
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    tops = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert set(tops) == schema["properties"].keys() - {"global"}
    for name in tops:
        block = re.search(rf"(?:^#.*\n)*^{name}:.*\n(?:^[ ].*\n)*", text, re.MULTILINE)
        assert block is not None
        assert "#" in block[0] or name == "resources", name


def test_helm_accepts_the_chart_and_makes_valid_manifests(tmp_path: Path) -> None:
    good, said = linted(CHART)
    assert good, said
    status, found = validated(said, tmp_path)
    assert status == 0, found
    assert found.count(" passed ") == len(files()) - 1  # all but the namespace
    made = [one for one in yaml.safe_load_all(said) if one]
    assert {one["kind"] for one in made} == files().keys() - {"Namespace"}
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (own,) = files()["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == own["resources"]
    assert container["image"] == own["image"]


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        ("values.yaml", "replicas: 3", "replicas: many"),
        ("values.yaml", "replicas: 3", "replica: 3"),
        ("values.yaml", "  TCSFEEL_LOG__FORMAT: json", "  TCSFEEL_AUTH__ADMIN_KEY: in-a-config-map"),
        ("values.yaml", "maxReplicas: 6", "maxReplicas: 60"),
        ("templates/service.yaml", "{{ .Release.Name }}", "{{ .Releas.Name }}"),
    ],
)
def test_helm_refuses_a_bad_copy(file: str, right: str, wrong: str, tmp_path: Path) -> None:
    copy = shutil.copytree(CHART, tmp_path / "tcsfeel")
    text = (copy / file).read_text()
    assert right in text
    (copy / file).write_text(text.replace(right, wrong, 1))
    good, said = linted(copy)
    assert not good, said
