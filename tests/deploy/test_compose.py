"""The Compose file: its own tool accepts it, and it is what the documentation says of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.validators import ROOT, ran, tool

COMPOSE = ROOT / "deploy" / "compose"
SERVERS = ["server-1", "server-2", "server-3"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the directory, with the secrets that `prepare` makes."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl on this machine")
    copy = tmp_path_factory.mktemp("deploy") / "compose"
    shutil.copytree(COMPOSE, copy, ignore=shutil.ignore_patterns(".env", "certificates"))
    subprocess.run([copy / "prepare"], check=True, capture_output=True)  # noqa: S603  (ours)
    return copy


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
    return found


def test_compose_accepts_the_file(prepared: Path) -> None:
    found = ran(tool("docker-compose"), "-f", prepared / "compose.yaml", "config", "--quiet")
    assert (found.returncode, found.stdout) == (0, "")


def test_compose_refuses_a_bad_copy_and_missing_secrets(prepared: Path, tmp_path: Path) -> None:
    text = (prepared / "compose.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("read_only: true", "readonly: true"))
    shutil.copy(prepared / ".env", tmp_path)
    assert "readonly" in ran(tool("docker-compose"), "-f", tmp_path / "bad.yaml", "config", "--quiet").stdout
    (tmp_path / ".env").unlink()
    unprepared = ran(tool("docker-compose"), "-f", tmp_path / "bad.yaml", "config", "--quiet")
    assert "run prepare first" in unprepared.stdout


def test_prepare_makes_secrets_that_only_their_owner_reads_and_leaves_them_as_they_are(prepared: Path) -> None:
    secrets = prepared / ".env"
    before, mode = secrets.read_text(), secrets.stat().st_mode
    assert mode & 0o077 == 0
    assert {(prepared / "certificates" / name).stat().st_mode & 0o077 for name in ("proxy.pem", "authority.key")} == {0}
    values = [line.partition("=")[2] for line in before.splitlines() if not line.startswith(("#", "OWNER"))]
    assert len(set(values)) == len(values) == 5
    assert min(len(value) for value in values) >= 32
    subprocess.run([prepared / "prepare"], check=True, capture_output=True)  # noqa: S603  (ours)
    assert secrets.read_text() == before


def test_prepare_adds_a_secret_that_an_earlier_version_did_not_know(prepared: Path) -> None:
    secrets = prepared / ".env"
    before = secrets.read_text()
    kept = [line for line in before.splitlines() if not line.startswith("GRAFANA_PASSWORD=")]
    secrets.write_text("\n".join(kept))  # as some editors write it
    subprocess.run([prepared / "prepare"], check=True, capture_output=True)  # noqa: S603  (ours)
    assert [line.partition("=")[0] for line in secrets.read_text().splitlines()] == [
        line.partition("=")[0] for line in before.splitlines()
    ]


def test_prometheus_scrapes_every_server_and_grafana_has_the_dashboards() -> None:
    (scrape,) = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"{name}:8080" for name in SERVERS]}]
    (source,) = yaml.safe_load((COMPOSE / "datasource.yml").read_text())["datasources"]
    shared = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/tcsfeel.yml").read_text())["datasources"]
    assert [source | {"url": ""}] == [one | {"url": ""} for one in shared]
    mounted = dict(volume.split(":")[:2][::-1] for volume in services()["grafana"]["volumes"])
    (provider,) = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/tcsfeel.yml").read_text())["providers"]
    dashboards = COMPOSE / mounted[provider["options"]["path"]]
    assert dashboards.resolve() == ROOT / "deploy" / "grafana" / "dashboards"
    assert "/etc/prometheus/alerts.yml" in {volume.split(":")[1] for volume in services()["prometheus"]["volumes"]}, (
        "the rules that its configuration names"
    )


def test_the_proxy_passes_grpc_on_to_the_port_of_every_server() -> None:
    port = services()["server-1"]["environment"]["TCSFEEL_GRPC__PORT"]
    assert f"{port}:{port}" in services()["proxy"]["ports"]
    text = (COMPOSE / "haproxy.cfg").read_text()
    assert f"bind :{port} ssl " in text
    assert re.findall(r"server (\S+) (\S+) track servers/\1\n", text) == [(name, f"{name}:{port}") for name in SERVERS]


@pytest.mark.parametrize(
    ("listed", "done"),
    [
        ("1a  compose  running  3/60\n2b  a  compose  created", "train --name compose --body /training.json\n"),
        ("1a  compose  created  0/60\n2b  compose  running  3/60", "resume 1a\n"),
        (None, ""),
    ],
)
def test_a_training_that_was_created_is_started_and_not_made_again(
    tmp_path: Path, listed: str | None, done: str
) -> None:
    calls = tmp_path / "calls"
    calls.touch()
    stub = tmp_path / "tcsfeel"
    shown = "exit 1" if listed is None else f"printf 'training  name\\n%s\\n' '{listed}'"
    stub.write_text(f'#!/bin/sh\nif [ "$*" = trainings ]; then {shown}; else echo "$@" >> {calls}; fi\n')
    stub.chmod(0o755)
    service = services()["training"]
    command = [word.replace("$$", "$") for word in (*service.get("entrypoint", ["tcsfeel"]), *service["command"])]
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ended = subprocess.run(command, env=environment, check=False, capture_output=True)  # noqa: S603  (ours)
    assert (ended.returncode != 0, calls.read_text()) == (listed is None, done)


def test_no_secret_is_in_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text()
    assert "/deploy/compose/.env\n" in ignored
    assert "/deploy/compose/certificates/\n" in ignored


def test_three_servers_are_alike_and_have_the_documented_limits() -> None:
    first, *others = (services()[name] for name in SERVERS)
    assert all(other == first for other in others)
    assert first["deploy"]["resources"]["limits"] == {"cpus": "1", "memory": "1g"}
    settings = first["environment"]
    assert (settings["TCSFEEL_TRAINING__TARGET_ACCURACY"], settings["TCSFEEL_TRAINING__MAX_ROUNDS"]) == ("0.963", "100")


def test_the_pools_of_all_servers_fit_into_postgres() -> None:
    settings = services()["server-1"]["environment"]
    pools = [int(settings[f"TCSFEEL_DATABASE__{name}"]) for name in ("POOL_SIZE", "COORDINATOR_POOL_SIZE")]
    assert len(SERVERS) * (sum(pools) + 1) <= 100 - 3 - 2  # the default, what is reserved, a migration and a backup


def test_our_containers_have_no_rights_and_write_only_to_volumes() -> None:
    ours = {name: one for name, one in services().items() if one["image"] in {"tcsfeel", "tcsfeel-agent"}}
    assert len(ours) == 8
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "user" not in service, name  # that of the image


def test_only_the_proxy_can_be_reached_from_other_hosts_and_images_have_versions() -> None:
    found = services()
    ports = {name: service["ports"] for name, service in found.items() if "ports" in service}
    assert ports.keys() == {"proxy", "grafana"}
    assert ports["grafana"] == ["127.0.0.1:3000:3000"]
    foreign = [one["image"] for one in found.values() if not one["image"].startswith("tcsfeel")]
    assert all(image.partition(":")[2] not in {"", "latest"} for image in foreign)
