"""Each benchmark on a small scale: it runs to its end and prints its closing line. Times are not judged here."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import benchmarks
from benchmarks.__main__ import main
from benchmarks.loop import longest
from benchmarks.peers import PYTHON
from benchmarks.round import BARS, Case, Compared, Ratios, Side
from tests.forking import fork, settle_in

PATIENCE = 120.0  # seconds, for machines that are busy with something else
FOLDER = Path(benchmarks.__file__).parent


@dataclass(frozen=True)
class Done:
    """What a benchmark ended with, and what it printed."""

    returncode: int | None
    stdout: str
    stderr: str


def run(*arguments: str) -> Done:
    with tempfile.TemporaryDirectory(prefix="tcsfeel-bench-") as directory:
        stdout, stderr = (Path(directory, name) for name in ("stdout", "stderr"))
        process = fork(live, stdout, stderr, dict(os.environ), arguments)
        process.join(PATIENCE)
        if process.exitcode is None:
            process.kill()
        done = Done(process.exitcode, stdout.read_text(), stderr.read_text())
    assert "Traceback" not in done.stderr, done.stderr  # its status is 1, as that of a bar that is missed
    return done


def live(stdout: Path, stderr: Path, environment: Mapping[str, str], arguments: Sequence[str]) -> None:
    """Do what ``python -m benchmarks`` does, in a process of its own."""
    settle_in(stderr, environment)
    with stdout.open("wb") as opened:
        os.dup2(opened.fileno(), sys.stdout.fileno())
    sys.exit(main(arguments))


def test_the_latency_of_the_api_is_measured_while_rounds_run() -> None:
    sizes = ["--clients", "4", "--model-bytes", "10000", "--rounds", "2", "--runs", "1", "--idle-seconds", "1"]
    done = run("responsiveness", "--database", "sqlite", *sizes)
    assert done.returncode in {0, 1}, done.stderr  # 1: slower than the bar, which says nothing on a busy machine
    assert done.stdout.splitlines()[-1].startswith("responsiveness: p99 while rounds run: sqlite ")
    assert re.search(r"event loop: [1-9]\d* pieces of work of 1 ms .*, the longest [1-9]\d*\.\d ms", done.stdout)


def test_what_holds_an_event_loop_is_found(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys, time; from benchmarks import loop\n"
        "async def work(seconds):\n"
        "    await asyncio.sleep(0)\n"
        "    began = time.thread_time()\n"
        "    while time.thread_time() - began < seconds: pass\n"
        "    await asyncio.sleep(seconds)\n"
        "async def main():\n"
        "    for _ in range(2): await work(0.02)\n"
        "    await asyncio.to_thread(time.sleep, 0.02)\n"
        "with open(sys.argv[1], 'w') as out:\n"
        "    loop.watch(lambda seconds: print(0, seconds, file=out)); asyncio.run(main())"
    )
    file = tmp_path / "loop"
    subprocess.run([sys.executable, "-c", program, str(file)], check=True, timeout=PATIENCE)  # noqa: S603  (our own)
    worked = [seconds for seconds in longest(file, 0, 1) if seconds >= 0.02]
    assert len(worked) == 2
    assert longest(file, 1, 2) == []


def test_carried_stragglers_are_compared_with_skipped_ones() -> None:
    done = run("carry", "--seeds", "1", "--target", "0.3")
    assert done.returncode in {0, 1}, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "seconds of simulated time to 30%, medians of 1 seeds (range)"
    found = [re.search(r"skip (\S+) \(.*carry (\S+) \(.* (of the time|reaches the target)", line) for line in lines[1:]]
    assert len(found) == 6
    assert all(one is not None and 0.0 < float(one[2]) < 1000.0 for one in found)
    waited = [one for one, line in zip(found, lines[1:], strict=True) if "all updates" in line]
    assert all(one is not None and one[1] == one[2] for one in waited)  # nobody is late


def test_the_cost_of_an_exchange_is_measured() -> None:
    done = run("exchanges", "--agents", "2", "--sizes", "1000", "300000")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^ +([0-9,]+) B +([0-9.]+) ms of CPU time, one every +[0-9.]+ ms$", done.stdout, re.MULTILINE)
    assert [size for size, _ in rows] == ["1,000", "300,000"]
    assert all(float(cpu) > 0 for _, cpu in rows)


ROUND = ("round", "--clients", "2", "--model-bytes", "1000", "--rounds", "2", "--turns", "1", "--database", "sqlite")


def test_a_round_is_measured_without_flower_too_and_says_how_to_get_it(tmp_path: Path) -> None:
    done = run(*ROUND, "--flower", str(tmp_path / "python"))
    assert done.returncode == 0, done.stderr
    assert "`make flower` installs it" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("round: the slowest median is ")
    assert done.stdout.splitlines()[-1].endswith("; 0 of 0 bars are met")
    each = next(line for line in done.stdout.splitlines() if line.startswith("  for each client: "))
    calls, statements, transactions, in_files = map(float, re.findall(r"\d+\.\d\d", each))
    assert calls >= 1.0  # its task; the deletion of it, and polls on a busy machine, may come later
    assert statements >= transactions > 0.0
    assert in_files >= 1.0  # its update was written


@pytest.mark.skipif(not PYTHON.exists(), reason="Flower is not installed: make flower")
def test_a_round_is_measured_beside_flowers() -> None:
    done = run(*ROUND, "--superlink", "0")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("sqlite"))
    figures = [float(word) for word in row.partition(" B ")[2].replace("MB", "").replace(" s", "").split()[:13]]
    wall, cpu, peak = figures[:3]
    assert figures[9] == pytest.approx(figures[3] / wall, abs=0.02 + 0.001 / wall)
    assert figures[11] == pytest.approx(figures[5] / peak, abs=0.02)
    assert figures[12] > 1.0  # the floor takes less
    assert cpu > 0


def test_a_bar_is_missed_just_below_each_of_its_figures() -> None:
    bar = BARS[50, 10_000_000]
    assert bar == Ratios(1.8, 2.5, 5.0)
    assert bar.reach(bar)
    for worse in (Ratios(1.79, 2.5, 5.0), Ratios(1.8, 2.49, 5.0), Ratios(1.8, 2.5, 4.99)):
        assert not worse.reach(bar)


def test_our_work_is_compared_with_the_floor_where_it_consists_of_bytes() -> None:
    def of_floor(cpu: float, model_bytes: int) -> list[bool]:
        ours, floor = Side(1.0, cpu, 100.0), Side(1.0, 0.5, 50.0)
        case = Case(database="sqlite", server_url=None, clients=50, model_bytes=model_bytes)
        return list(Compared(ours, floor, None).verdicts(case))

    assert of_floor(1.0, 10_000_000) == [True]
    assert of_floor(1.01, 10_000_000) == [False]
    assert of_floor(1.01, 1_000_000) == []


def test_aggregation_is_compared_with_memcpy() -> None:
    sizes = ["--updates", "3", "--megabytes", "0.1", "--rules-updates", "5", "--rules-megabytes", "0.1"]
    done = run("aggregation", *sizes, "--repeats", "1")
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout.splitlines()[-1].startswith("aggregation: ")


def test_a_rounds_memory_is_measured_and_its_model_compared() -> None:
    done = run("memory", "--clients", "3", "--megabytes", "2", "--limit", "1024")
    assert done.returncode == 0, done.stderr
    closing = done.stdout.splitlines()[-1]
    assert closing.startswith("memory: at most ")
    assert int(closing.split()[3]) > 50  # MB: no Python with numpy is smaller
    assert run("memory", "--clients", "3", "--megabytes", "2", "--limit", "10").returncode != 0


def test_betweenness_and_large_matrices_are_compared() -> None:
    done = run("topology", "--sizes", "12", "40", "--matrix", "40", "--changes", "3", "--repeats", "1")
    assert done.returncode == 1, done.stderr  # nothing is a hundred times faster on so few
    closing = done.stdout.splitlines()[-1]
    assert closing.startswith("topology: betweenness of 40 clients ")
    apart = float(closing.partition("apart by ")[2].split()[0])
    assert apart <= 1e-9


def test_selection_is_timed_as_fleets_grow() -> None:
    done = run("scale", "--sizes", "30", "60", "--strategies", "random", "tcs-feel", "--repeats", "1")
    assert done.returncode in {0, 1}, done.stderr
    assert "POST, tcs-feel, sqlite" in done.stdout
    barless = "was measured with no number of clients that has a bar"
    assert done.stdout.splitlines()[-2:] == [
        f"scale: one {what} {barless}" for what in ("selection", "later round of a recipe")
    ]


def test_the_holds_of_the_largest_calls_are_measured() -> None:
    sizes = ["--clients", "120", "--labels", "50", "--dense", "20", "--repeats", "1", "--database", "sqlite"]
    done = run("holds", *sizes, "--only", "dense|client, many names")
    assert done.returncode in {0, 1}, done.stderr  # 1: held for longer than the bar, which a busy machine explains
    assert re.search(r"GET connectivity, dense +\d+ +\d+ +\d+ +\d+\.\d\d ", done.stdout)
    assert done.stdout.splitlines()[-1].startswith("holds: the longest is ")


def test_smaller_uploads_are_measured() -> None:
    done = run("uploads", "--seeds", "1", "--rounds", "2", "--values", "10000")
    assert done.returncode in {0, 1}, done.stderr  # two rounds say nothing of accuracy
    assert done.stdout.splitlines()[-1].startswith("uploads: int8 in zstd takes ")


def test_hostile_updates_are_measured() -> None:
    done = run("byzantine", "--seeds", "1", "--rounds", "2")
    assert done.returncode in {0, 1}, done.stderr  # two rounds say nothing of accuracy
    assert [line.split()[0] for line in done.stdout.splitlines()[2:6]] == [
        "fedavg",
        "trimmed_mean",
        "median",
        "multi_krum",
    ]
    assert done.stdout.splitlines()[-1].startswith("byzantine: a robust rule loses at most ")


def test_benchmarks_are_listed_and_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    modules = [path for path in FOLDER.rglob("*.py") if "\ndef main(arguments" in path.read_text()]
    runnable = {path.parent.name if path.stem == "__init__" else path.stem for path in modules}
    assert main(["--list"]) == 0
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()} == runnable - {"__main__"}
    assert main(["nonsense"]) == 2


def test_what_rounds_send_to_the_database_is_counted() -> None:
    sizes = ["--clients", "3", "--registered", "4", "6", "--strategies", "random", "--rounds", "2"]
    done = run("ledger", "--database", "sqlite", *sizes)
    assert done.returncode in {0, 1}, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("sqlite"))
    statements, transactions, a_client = map(float, row.partition(" ms ")[2].partition(" ms ")[2].split()[:3])
    assert statements > transactions > 4
    assert a_client == pytest.approx(statements / 3, abs=0.1)
    assert done.stdout.splitlines()[-1].endswith(" of 5 bars are met")


def test_agents_that_wait_for_tasks_are_measured() -> None:
    done = run("pull", "--clients", "4", "--seconds", "1", "--rounds", "2", "--selected", "2")
    assert done.returncode in {0, 1}, done.stderr
    assert "4 hand-overs: median " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("pull: 4 idle agents take ")


def test_the_cost_of_heartbeats_is_measured() -> None:
    done = run("heartbeats", "--clients", "20", "--interval", "1", "--intervals", "2")
    assert done.returncode in {0, 1}, done.stderr
    assert re.search(r"[1-9]\d*\.\d statements in [1-9]\d*\.\d transactions a second", done.stdout)
    assert done.stdout.splitlines()[-1].startswith("heartbeats: 20 clients take at most ")


def test_the_bytes_over_the_servers_link_are_measured_with_relays_and_without() -> None:
    done = run("relay", "--clients", "4", "--groups", "1", "--rounds", "2", "--floats", "100000", "--scenes", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = re.findall(r"^  (star|relay) +([0-9.]+) MB a round .*, (\d) updates relayed", done.stdout, re.MULTILINE)
    assert [(topology, relayed) for topology, _, relayed in rows] == [("star", "0"), ("relay", "3")]
    star, relay = (float(megabytes) for _, megabytes, _ in rows)
    assert star == pytest.approx(4 * relay, rel=0.05)
