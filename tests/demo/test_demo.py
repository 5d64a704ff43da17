"""The demo as its user runs it, with fewer agents and a target that a few rounds reach."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo.world import World

PATIENCE = 60.0  # s until something that should happen is given up
PROC = Path("/proc")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty working directory with a place for temporary files beside it; no process that knows it is left."""
    (tmp_path / "work").mkdir()
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    for process in processes(tmp_path):
        os.kill(process, signal.SIGKILL)


def start(place: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(  # noqa: S603  (this interpreter and arguments of ours)
        [sys.executable, "-c", "from app.cli import main; main()", "demo", *arguments],
        cwd=place / "work",
        env=os.environ | {"TMPDIR": str(place / "tmp"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def processes(place: Path) -> list[int]:
    """Those that inherited this place in their environment."""
    found = []
    for entry in PROC.glob("[0-9]*/environ"):
        try:
            environment = entry.read_bytes()
        except OSError:
            continue  # not ours, or gone
        if f"TMPDIR={place / 'tmp'}\0".encode() in environment:
            found.append(int(entry.parent.name))
    return found


def read_until(demo: "subprocess.Popen[str]", start_of_line: str) -> list[str]:
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(start_of_line):
            return lines
    raise AssertionError(f"no line {start_of_line!r} in {lines}, {demo.stderr and demo.stderr.read()}")


def assert_nothing_is_left(place: Path) -> None:
    assert not processes(place)
    assert not list((place / "tmp").iterdir())
    assert not list((place / "work").iterdir())


def test_a_demo_reaches_its_target_and_leaves_nothing_behind(place: Path) -> None:
    demo = start(place, "--agents", "12", "--target", "0.5")
    output, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    rounds = re.findall(r"^round +(\d+)  accuracy (0\.\d{4})  cost so far", output, re.MULTILINE)
    assert [int(number) for number, _ in rounds] == list(range(1, len(rounds) + 1))
    assert [float(accuracy) >= 0.5 for _, accuracy in rounds] == [False] * (len(rounds) - 1) + [True]
    assert f"reached: {rounds[-1][1]} measured by the agents" in output
    assert "tcsfeel demo --strategy random" in output
    assert_nothing_is_left(place)


def test_a_demo_that_cannot_begin_says_why_in_one_line(place: Path) -> None:
    demo = start(place, "--agents", "10", "--strategy", "best-of-all")
    _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 1
    (line,) = errors.splitlines()
    assert line.startswith("tcsfeel: the control plane refused POST /v1/trainings: 422")
    assert "must be one of" in line
    assert_nothing_is_left(place)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_demo_cleans_up(place: Path, sent: signal.Signals, status: int) -> None:
    demo = start(place, "--agents", "10", "--target", "1")
    read_until(demo, "round")
    demo.send_signal(sent)
    assert demo.wait(PATIENCE) == status
    demo.communicate()
    assert_nothing_is_left(place)


@pytest.mark.skipif(not PROC.exists(), reason="finds processes in /proc")
def test_no_process_outlives_a_demo_that_was_killed(place: Path) -> None:
    demo = start(place, "--agents", "10", "--target", "1")
    read_until(demo, "round")
    assert len(processes(place)) == 4  # the demo, the control plane and two of agents
    demo.kill()
    demo.communicate()
    given_up = time.monotonic() + PATIENCE
    while processes(place):
        assert time.monotonic() < given_up
        time.sleep(0.1)


def test_a_demo_that_is_kept_answers_until_it_is_told_to_end(place: Path) -> None:
    demo = start(place, "--agents", "10", "--target", "0.3", "--keep")
    lines = read_until(demo, "curl -s http")
    url = lines[-1].split()[-1].removesuffix("/metrics")
    (directory,) = (place / "tmp").iterdir()
    assert lines[0].endswith(str(directory))
    request = urllib.request.Request(  # noqa: S310  (http, from the demo)
        f"{url}/v1/trainings", headers={"Authorization": f"Bearer {(directory / 'admin-key').read_text().strip()}"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:  # noqa: S310  (as above)
        (training,) = json.load(answer)["items"]
    assert training["status"] == "completed"
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 0
    demo.communicate()
    assert not processes(place)
    assert (directory / "control-plane.log").exists()
    assert (directory / "tcsfeel.db").exists()


def test_a_world_covers_every_client_once_and_sends_null_for_no_link() -> None:
    world = World.of(1, 21)
    shares = [world.trainers(share, 2) for share in range(2)]
    assert sorted([*shares[0], *shares[1]]) == sorted(world.client_ids)
    body = world.connectivity()
    cells = [cost for row in body["costs"] for cost in row]
    assert len(cells) == 21 * 21
    assert None in cells
    assert json.loads(json.dumps(body, allow_nan=False))["client_ids"] == list(world.client_ids)
    digits = world.held_out()
    assert len(digits.train_labels) + len(digits.test_labels) == 1797
