"""Copy a training to a real MLflow server, and read there what came in: ``make trackers``.

MLflow runs in a virtual environment of its own, and its own client library reads from it. `tcsfeel track` runs three
times: while the training goes on, after its end, and once more. The run has to have each round once, with the figures
that the control plane has, and the registered model a version for each of them.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tcsfeel.client import Client
from tcsfeel.contract.rounds import RoundOut
from tests.e2e.federations import federation
from tests.e2e.servers import Server, free_port

ROOT = Path(__file__).parents[3]
BIN = ROOT / "build" / "trackers" / "bin"
PATIENCE = 240.0  # seconds
ROUNDS = 6
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
READ = """
import json, sys
import mlflow
url, training = sys.argv[1:]
mlflow.set_tracking_uri(url)
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("tcsfeel")
runs = client.search_runs([experiment.experiment_id], f"tags.`tcsfeel.training` = '{training}'")
found = [
    {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "points": {
            name: [[one.step, one.value, one.timestamp] for one in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        },
    }
    for run in runs
]
models = {
    model.name: [
        [version.tags, json.loads(open(mlflow.artifacts.download_artifacts(f"{version.source}/tcsfeel.json")).read())]
        for version in client.search_model_versions(f"name='{model.name}'")
    ]
    for model in client.search_registered_models()
}
print(json.dumps({"version": mlflow.__version__, "runs": found, "models": models}))
"""


class Report:
    """What was looked at, and what was not as it should be."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def check(self, what: str, *, holds: bool) -> None:
        print(f"{'ok    ' if holds else 'MISSED'} {what}", flush=True)
        if not holds:
            self.missed.append(what)


@contextlib.contextmanager
def mlflow_server(directory: Path) -> Iterator[str]:
    """Run MLflow with a database and artifacts of its own in the block, and give its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{directory}/mlflow.db",
        "--artifacts-destination",
        f"{directory}/kept",
    ]
    log = directory / "mlflow.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  (our own arguments)
            command, cwd=directory, env=environment(), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait(lambda: answers(url, process, log))
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(PATIENCE)


def environment(**variables: str) -> dict[str, str]:
    """The variables of a process, without those of this machine that lead it elsewhere."""
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/"), **QUIET, **variables}


def answers(url: str, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    """Tell whether MLflow has started. Ends the run if it does not start."""
    if process.poll() is not None:
        raise SystemExit(f"trackers: MLflow does not start:\n{log.read_text()[-3000:]}")
    with contextlib.suppress(httpx2.TransportError):
        return httpx2.get(f"{url}/health", trust_env=False).is_success
    return False


def wait(look: Any) -> None:
    """Look again and again until it is true. Raises TimeoutError."""
    ends = time.monotonic() + PATIENCE
    while not look():
        if time.monotonic() > ends:
            raise TimeoutError(f"{look} is not true within {PATIENCE:g} s")
        time.sleep(0.3)


def track(server: Server, url: str) -> str:
    """Run ``tcsfeel track --once``, and give what it prints."""
    command = [str(Path(sys.executable).parent / "tcsfeel"), "track", "--once", "--mlflow", url]
    said = {"TCSFEEL_SERVER": server.url, "TCSFEEL_KEY": server.key}
    done = subprocess.run(  # noqa: S603  (our own arguments)
        command, env=environment(**said), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode:
        raise SystemExit(f"trackers: tcsfeel track ended with {done.returncode}: {done.stderr}")
    return done.stdout


def read(url: str, training: str) -> Any:
    """Read what MLflow has, with its own library."""
    command = [str(BIN / "python"), "-c", READ, url, training]
    done = subprocess.run(  # noqa: S603  (our own arguments)
        command, env=environment(), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode:
        raise SystemExit(f"trackers: MLflow's library ended with {done.returncode}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def judge(report: Report, found: Any, rounds: list[RoundOut], training: str) -> None:
    """Compare what MLflow has with what the control plane has."""
    report.check("the training is one run", holds=len(found["runs"]) == 1)
    if not found["runs"]:
        return
    run = found["runs"][0]
    report.check(f"it has ended: {run['status']}", holds=run["status"] == "FINISHED")
    report.check("it has the configuration as parameters", holds=run["params"].get("max_rounds") == str(ROUNDS))
    curve = [[one.number, one.average_accuracy] for one in rounds]
    shown = [point[:2] for point in run["points"].get("evaluation/accuracy", [])]
    report.check(f"its curve is that of the control plane: {shown}", holds=shown == curve and len(curve) == ROUNDS)
    losses = [(one.number, one.average_loss) for one in rounds if one.average_loss is not None]
    shown = [tuple(point[:2]) for point in run["points"].get("evaluation/loss", [])]
    falls = len(losses) > 1 and losses[-1][1] < losses[0][1]
    report.check(f"so is the loss, which falls: {shown}", holds=shown == losses and falls)
    doubled = [name for name, points in run["points"].items() if len({step for step, *_ in points}) < len(points)]
    report.check("no figure has a round twice", holds=not doubled)
    clients = {name.split("/")[1] for name in run["points"] if name.startswith("clients/")}
    report.check(f"each client has figures: {sorted(clients)}", holds=clients == {f"edge-{seed}" for seed in range(3)})
    names = sorted(found["models"])
    report.check(f"there is one registered model: {names}", holds=len(names) == 1)
    versions = [version for name in names for version in found["models"][name]]
    models = {str(one.number): one.model for one in rounds}
    named = {tags["tcsfeel.round"]: tags["sha256"] for tags, _ in versions}
    report.check("it has a version of each round", holds=named == models and len(versions) == ROUNDS)
    places = [pointer["tcsfeel.url"].rpartition("/v1/")[2] for _, pointer in versions]
    wanted = [f"trainings/{training}/model?round={tags['tcsfeel.round']}" for tags, _ in versions]
    report.check("each version says where the control plane has its parameters", holds=places == wanted)


def main() -> int:
    if not (BIN / "mlflow").exists():
        print("trackers: there is no MLflow: `make trackers` installs it", file=sys.stderr)
        return 1
    report = Report()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tcsfeel-trackers-")))
        url = stack.enter_context(mlflow_server(directory))
        server = stack.enter_context(federation(directory, f"sqlite+aiosqlite:///{directory}/tcsfeel.db"))
        client = stack.enter_context(Client(server.url, server.key))
        training = client.create_training(
            name="tracked",
            max_rounds=ROUNDS,
            goal={"metric": "accuracy", "target": 1.0},
            selection={"min_clients": 3, "max_clients": 3},
        ).id
        client.start_training(training)
        wait(lambda: client.get_training(training).current_round > 2)
        track(server, url)
        wait(lambda: client.get_training(training).status == "completed")
        for _ in range(2):
            said = track(server, url)
        report.check(f"the command says how far it has come: {said.strip()}", holds=f"up to round {ROUNDS}" in said)
        rounds = sorted(client.rounds(training), key=lambda one: one.number)
        found = read(url, training)
        judge(report, found, rounds, training)
    print(f"trackers: MLflow {found['version']}: {'ok' if not report.missed else f'{len(report.missed)} PROBLEMS'}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
