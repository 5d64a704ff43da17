"""The demo as its user runs it, with fewer agents and a target that a few rounds reach."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.demo.plane import Plane
from app.demo.world import World

PATIENCE = 120.0  # s until something that should happen is given up
PROC = Path("/proc")
# A shell starts what runs in its background without Ctrl-C, and so may CI start the tests.
IN_FRONT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


@dataclass
class Place:
    """An empty working directory, with a place for temporary files beside it."""

    root: Path
    demos: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        demo = subprocess.Popen(  # noqa: S603  (this interpreter and arguments of ours)
            [sys.executable, "-c", IN_FRONT + "from tcsfeel.cli import main; main()", "demo", *arguments],
            cwd=self.root / "work",
            env=os.environ | {"TMPDIR": str(self.root / "tmp"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.demos.append(demo)
        return demo

    def processes(self) -> list[int]:
        """Those that inherited this place in their environment."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                environment = entry.read_bytes()
            except OSError:
                continue  # not ours, or gone
            if f"TMPDIR={self.root / 'tmp'}\0".encode() in environment:
                found.append(int(entry.parent.name))
        return found

    def assert_left_as_it_was(self) -> None:
        assert not self.processes()
        assert not list((self.root / "tmp").iterdir())
        assert not list((self.root / "work").iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "work").mkdir()
    (tmp_path / "tmp").mkdir()
    place = Place(tmp_path)
    yield place
    for demo in place.demos:
        demo.kill()
        demo.communicate()


def read_until(demo: "subprocess.Popen[str]", start_of_line: str) -> list[str]:
    assert demo.stdout is not None
    lines = []
    for line in demo.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(start_of_line):
            return lines
    raise AssertionError(f"no line {start_of_line!r} in {lines}: {demo.communicate()[1]}")


def test_a_demo_reaches_its_target_and_leaves_nothing_behind(place: Place) -> None:
    demo = place.start("--agents", "12", "--target", "0.5")
    output, errors = demo.communicate(timeout=PATIENCE)
    assert (demo.returncode, errors) == (0, "")
    rounds = re.findall(r"^round +(\d+)  accuracy (0\.\d{4})  cost so far", output, re.MULTILINE)
    assert [int(number) for number, _ in rounds] == list(range(1, len(rounds) + 1))
    assert [float(accuracy) >= 0.5 for _, accuracy in rounds] == [False] * (len(rounds) - 1) + [True]
    assert f"reached: {rounds[-1][1]} measured by the agents" in output
    assert "tcsfeel demo --strategy random" in output
    place.assert_left_as_it_was()


def test_a_demo_that_is_told_to_end_cleans_up(place: Place) -> None:
    demo = place.start("--agents", "10", "--target", "1", "--links", "shaped", "--transport", "pull")
    read_until(demo, "round")
    if PROC.exists():
        assert len(place.processes()) == 4  # the demo, the control plane and two of agents
    demo.terminate()
    assert demo.wait(PATIENCE) == 128 + signal.SIGTERM
    place.assert_left_as_it_was()


def test_a_demo_that_is_kept_answers_until_ctrl_c_and_keeps_its_files(place: Place) -> None:
    demo = place.start("--agents", "10", "--target", "0.2", "--links", "shaped", "--keep")
    lines = read_until(demo, "curl -s http")
    url = lines[-1].split()[-1].removesuffix("/metrics")
    (directory,) = (place.root / "tmp").iterdir()
    assert lines[0].endswith(str(directory))
    with Plane(url, (directory / "admin-key").read_text().strip(), check=lambda: None) as plane:
        (training,) = plane.get("/v1/trainings")["items"]
    assert training["status"] == "completed"
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 0
    assert not place.processes()
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
