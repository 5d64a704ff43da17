"""The images: what their files promise, and that the program runs where only its volume can be written to."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.deploy.validators import ROOT, ran, tool
from tests.e2e.servers import PATIENCE, free_port

SERVER, AGENT = ROOT / "Dockerfile", ROOT / "deploy" / "agent" / "Dockerfile"
IMAGES = pytest.mark.parametrize("file", [SERVER, AGENT], ids=["server", "agent"])
LABELS = {"title", "description", "licenses", "version", "revision"}
LISTED = "tcsfeel.sbom"
BAD = "FROM python:latest\nRUN apt-get install curl\nCMD tcsfeel serve\n"


def instructions(file: Path) -> list[tuple[str, str]]:
    """The instructions of the last stage, each with its arguments."""
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    found = [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]
    starts = [number for number, (name, _) in enumerate(found) if name == "FROM"]
    assert len(starts) > 1, "a build leaves its tools in the image if it has one stage"
    return found[starts[-1] :]


def arguments(file: Path, name: str) -> list[str]:
    return [rest for found, rest in instructions(file) if found == name]


@IMAGES
def test_the_linter_finds_nothing(file: Path) -> None:
    found = ran(tool("hadolint"), file)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_linter_finds_what_is_wrong_with_a_bad_file() -> None:
    found = ran(tool("hadolint"), "-", text=BAD)
    assert found.returncode != 0
    assert {"DL3007", "DL3008", "DL3025"} <= set(re.findall(r"DL\d+", found.stdout))


@IMAGES
def test_a_volume_belongs_to_the_user_that_runs(file: Path) -> None:
    (user,), (volume,) = arguments(file, "USER"), arguments(file, "VOLUME")
    number, group = user.split(":")
    assert int(number) > 0
    made = f"install --directory --owner={number} --group={group} {volume}"
    assert any(made in run for run in arguments(file, "RUN")), "a new volume gets the owner of the directory it covers"
    order = [name for name, _ in instructions(file)]
    assert order.index("RUN") < order.index("USER") < order.index("VOLUME")


@IMAGES
def test_nothing_in_the_image_needs_a_shell(file: Path) -> None:
    commands = [json.loads(rest) for name in ("ENTRYPOINT", "CMD") for rest in arguments(file, name)]
    (check,) = arguments(file, "HEALTHCHECK")
    if check != "NONE":
        commands.append(json.loads(check.partition(" CMD ")[2]))
    assert commands
    assert all(isinstance(command, list) and command[0] not in {"sh", "bash"} for command in commands)


@IMAGES
def test_the_labels_say_what_the_image_is(file: Path) -> None:
    (labels,) = arguments(file, "LABEL")
    named = dict(word.split("=", 1) for word in shlex.split(labels))
    assert {name.removeprefix("org.opencontainers.image.") for name in named} == LABELS | {LISTED}
    assert f"cyclonedx-py environment --output-reproducible --output-file {named[LISTED]} " in file.read_text()
    assert named[LISTED].startswith("/opt/tcsfeel/"), "which the second stage takes over"
    (version,) = [rest for rest in arguments(file, "ARG") if rest.startswith("VERSION=")]
    assert f'version = "{version.removeprefix("VERSION=")}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("lock", "name"), [("requirements.lock", "tcsfeel-server"), ("sdk/requirements.lock", "tcsfeel")]
)
def test_a_bill_of_materials_names_each_package_of_its_lock(lock: str, name: str, tmp_path: Path) -> None:
    if not (ROOT / "build/sbom/.installed").exists():
        pytest.skip("`make sbom` has not installed the generator")
    project = (ROOT / lock).parent / "pyproject.toml"
    written = tmp_path / "sbom.json"
    ran(ROOT / "build/sbom/bin/cyclonedx-py", "requirements", "--pyproject", project, "-o", written, ROOT / lock)
    found = json.loads(written.read_text())
    pinned = re.findall(r"^([a-z0-9.-]+)(?:\[[a-z0-9,-]+\])?==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    assert {(one["name"], one["version"]) for one in found["components"]} == set(pinned)
    assert len(pinned) > 10
    assert found["metadata"]["component"]["name"] == name


def test_the_image_of_an_agent_has_only_the_library() -> None:
    text = AGENT.read_text()
    copied = {rest.split()[0] for rest in re.findall(r"^COPY (.+)$", text, re.MULTILINE) if "--from" not in rest}
    assert copied == {"sdk/requirements.lock", "sdk", "sbom"}
    pinned = re.findall(r"^([a-z0-9-]+)==", (ROOT / "sdk" / "requirements.lock").read_text(), re.MULTILINE)
    assert {"numpy", "pynacl", "uvicorn"} <= set(pinned)
    assert not {"scipy", "sqlalchemy", "fastapi", "networkit"} & set(pinned)


def test_the_build_can_see_what_the_images_copy() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    for file in (SERVER, AGENT):
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", file.read_text(), re.MULTILINE):
            for name in line.split():
                assert f"!{name.split('/')[0]}" in rules, name
                assert (ROOT / name).exists()


def health_check() -> list[str]:
    (check,) = arguments(SERVER, "HEALTHCHECK")
    command: list[str] = json.loads(check.partition(" CMD ")[2])
    return [sys.executable, *command[1:]]


@contextmanager
def read_only(volume: Path, command: list[str], **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a mount namespace in which `volume` is new, and nothing else can be written to."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can make a file system read-only for one process, with unshare")
    probe = ["unshare", "--mount", "sh", "-c", "mount -o remount,bind,ro /"]
    if subprocess.run(probe, check=False, capture_output=True).returncode:  # noqa: S603  (our own)
        pytest.skip("this machine does not let root remount / in a mount namespace")
    volume.mkdir()
    prepare = f"mount -t tmpfs none {shlex.quote(str(volume))} && mount -o remount,bind,ro / && ! touch /nowhere 2>&-"
    text = f"{prepare} && exec {shlex.join(command)}"
    log = volume.with_suffix(".log")
    with log.open("wb") as output:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
        process = subprocess.Popen(  # noqa: S603  (our own)
            ["unshare", "--mount", "sh", "-c", text],  # noqa: S607  (found above)
            cwd="/",
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(PATIENCE)
    assert "Read-only file system" not in log.read_text()


def test_server_and_agent_run_where_only_the_volume_can_be_written_to(tmp_path: Path) -> None:
    port = free_port()
    data, state = tmp_path / "data", tmp_path / "state"
    key = "an-admin-key-for-tests"
    variables = {"TCSFEEL_PORT": str(port), "TCSFEEL_AUTH__ADMIN_KEY": key, "TCSFEEL_DATA_DIR": str(data)}
    tcsfeel = [sys.executable, "-P", "-c", "from tcsfeel.cli import main; main()"]
    url = f"http://127.0.0.1:{port}"
    trainer = [*tcsfeel, "agent", "examples.minimal_trainer:trainer", "--id", "edge-1", "--server", url, "--pull"]
    with (
        httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as api,
        read_only(data, [*tcsfeel, "serve"], **variables) as server,
    ):
        until(lambda: subprocess.run(health_check(), env=variables, check=False).returncode == 0, server)  # noqa: S603  (ours)
        until(lambda: api.get("/readyz").is_success, server)
        invitation = api.post("/v1/invitations", json={"uses": 1}).raise_for_status().json()["secret"]
        where = {"XDG_STATE_HOME": str(state), "TCSFEEL_INVITE": invitation, "PYTHONPATH": str(ROOT)}
        with read_only(state, trainer, **where) as agent:
            until(lambda: len(api.get("/v1/clients").json()["items"]) == 1, agent)
            body = {"name": "read-only", "max_rounds": 2, "selection": {"min_clients": 1, "max_clients": 1}}
            training = api.post("/v1/trainings", json=body).raise_for_status().json()["id"]
            api.post(f"/v1/trainings/{training}/start").raise_for_status()
            until(lambda: api.get(f"/v1/trainings/{training}").json()["status"] == "completed", agent)


def until(condition: object, process: "subprocess.Popen[bytes]") -> None:
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < end
        time.sleep(0.1)
