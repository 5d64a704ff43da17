"""An MLflow server in memory, as strict as a real one about what the tracker sends; and a control plane to track."""

import http.server
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from tcsfeel.client import Client, NotFound
from tcsfeel.contract.events import EventOut, EventsOut
from tcsfeel.contract.goals import GoalOut, SummaryOut
from tcsfeel.contract.rounds import ParticipationOut, RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tests.serving import serving

BEGIN = datetime(2026, 11, 30, 9, tzinfo=UTC)
NAME = re.compile(r"[A-Za-z0-9_\-./ ]{1,250}")
ID = "0d3a0016bafee559"


def silent(_line: str) -> None:
    """Tell nobody."""


class Refusal(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.answer = status, {"error_code": code, "message": message}


class FakeMlflow:
    """The endpoints that the tracker uses. `metrics` are the points of all runs: MLflow keeps equal ones once.

    While `fails` has endpoints, the next call of the first one raises it.
    """

    def __init__(self) -> None:
        self.experiments: list[str] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.metrics: set[tuple[str, str, int, float, int]] = set()
        self.models: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: dict[str, Any] = {}
        self.headers: list[dict[str, str]] = []
        self.fails: list[tuple[str, Exception | int]] = []

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Give the status and the body of an answer."""
        address = urlsplit(target)
        path = address.path.removeprefix("/api/2.0/mlflow/")
        given = json.loads(body) if body else {name: found[0] for name, found in parse_qs(address.query).items()}
        if method == "PUT":
            self.artifacts[path.removeprefix("/api/2.0/mlflow-artifacts/artifacts/")] = given
            return 200, {}
        if self.fails and self.fails[0][0] == path:
            _, failure = self.fails.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure, {}
        try:
            return 200, getattr(self, f"_{method}_{path}".lower().replace("/", "_").replace("-", "_"))(given)
        except Refusal as refusal:
            return refusal.answer

    def transport(self) -> httpx2.MockTransport:
        def handle(request: httpx2.Request) -> httpx2.Response:
            self.headers.append(dict(request.headers))
            status, found = self.answer(request.method, request.url.raw_path.decode(), request.read())
            return httpx2.Response(status, json=found)

        return httpx2.MockTransport(handle)

    @contextmanager
    def served(self) -> Iterator[tuple["FakeMlflow", str]]:
        """Answer on a real socket in the block, and give the base URL."""
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, found = fake.answer(self.command, self.path, body)
                sent = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_PUT = do_POST = _answer  # noqa: N815  (the names that the base class looks up)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with serving(http.server.HTTPServer(("127.0.0.1", 0), Handler)) as server:
            yield self, f"http://127.0.0.1:{server.server_port}"

    def points(self, key: str) -> list[tuple[int, float]]:
        """The step and the value of each point of a figure, in order."""
        return sorted((step, value) for _, name, step, value, _ in self.metrics if name == key)

    def _get_experiments_get_by_name(self, given: Any) -> dict[str, Any]:
        if given["experiment_name"] not in self.experiments:
            raise Refusal(404, "RESOURCE_DOES_NOT_EXIST")
        return {"experiment": {"experiment_id": str(self.experiments.index(given["experiment_name"]))}}

    def _post_experiments_create(self, given: Any) -> dict[str, Any]:
        self.experiments.append(given["name"])
        return {"experiment_id": str(len(self.experiments) - 1)}

    def _post_runs_search(self, given: Any) -> dict[str, Any]:
        wanted = re.fullmatch(r"tags\.`(.+)` = '(.+)'", given["filter"])
        assert wanted
        found = [run for run in self.runs.values() if run["tags"].get(wanted[1]) == wanted[2]]
        return {"runs": [_run(run) for run in found][: given["max_results"]]}

    def _post_runs_create(self, given: Any) -> dict[str, Any]:
        run = {"id": f"run-{len(self.runs)}", "status": "RUNNING", "params": {}, "name": given["run_name"]}
        self.runs[run["id"]] = run | {"tags": {one["key"]: one["value"] for one in given["tags"]}}
        return {"run": _run(self.runs[run["id"]])}

    def _post_runs_update(self, given: Any) -> dict[str, Any]:
        self.runs[given["run_id"]]["status"] = given["status"]
        return {}

    def _post_runs_log_batch(self, given: Any) -> dict[str, Any]:
        run, metrics, params = self.runs[given["run_id"]], given.get("metrics", []), given.get("params", [])
        if len(metrics) > 1000 or len(params) > 100:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "too many")
        for one in [*metrics, *params]:
            segments = one["key"].split("/")
            if not NAME.fullmatch(one["key"]) or any(part in {"", ".", ".."} for part in segments):
                raise Refusal(400, "INVALID_PARAMETER_VALUE", f"the name {one['key']}")
        for one in params:
            if run["params"].setdefault(one["key"], one["value"]) != one["value"]:
                raise Refusal(400, "INVALID_PARAMETER_VALUE", "a parameter cannot change")
        self.metrics |= {(run["id"], one["key"], one["step"], one["value"], one["timestamp"]) for one in metrics}
        run["tags"] |= {one["key"]: one["value"] for one in given.get("tags", [])}
        return {}

    def _post_registered_models_create(self, given: Any) -> dict[str, Any]:
        if len(given["name"]) > 256:
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "the name is too long")
        if given["name"] in self.models:
            raise Refusal(400, "RESOURCE_ALREADY_EXISTS")
        self.models[given["name"]] = []
        return {}

    def _get_model_versions_search(self, given: Any) -> dict[str, Any]:
        wanted = re.fullmatch(r"name='(.+)'", given["filter"])
        assert wanted
        return {"model_versions": self.models[wanted[1]][::-1][: int(given["max_results"])]}

    def _post_model_versions_create(self, given: Any) -> dict[str, Any]:
        if given["source"].startswith("http"):
            raise Refusal(400, "INVALID_PARAMETER_VALUE", "'source' cannot use the 'http' scheme")
        self.models[given["name"]].append(given)
        return {}


def _run(run: dict[str, Any]) -> dict[str, Any]:
    tags = [{"key": key, "value": value} for key, value in run["tags"].items()]
    return {
        "info": {
            "run_id": run["id"],
            "status": run["status"],
            "artifact_uri": f"mlflow-artifacts:/0/{run['id']}/artifacts",
        },
        "data": {"tags": tags},
    }


class Plane(Client):
    """A control plane with one training. `events` are the batches that followers get, before an interruption."""

    def __init__(self, *rounds: RoundOut, **fields: Any) -> None:
        self.all = {round_.number: round_ for round_ in rounds}
        self.fields = fields
        self.happened: list[list[RoundOut]] = []

    def training(self) -> TrainingOut:
        usual: dict[str, Any] = dict.fromkeys(TrainingOut.model_fields) | {
            "id": ID,
            "name": "digits: MNIST/small",
            "status": "running",
            "current_round": max(self.all, default=0),
            "max_rounds": 10,
            "goal": GoalOut(metric="accuracy", mode="max", target=0.9, patience=None, min_delta=0.0),
            "created_at": BEGIN,
            "updated_at": BEGIN,
        }
        return TrainingOut.model_construct(**(usual | self.fields))

    def trainings(self) -> Any:
        return [self.training()]

    def events(self, **_: Any) -> Iterator[EventOut]:
        for batch in self.happened:
            self.all |= {round_.number: round_ for round_ in batch}
            event: dict[str, Any] = dict.fromkeys(EventOut.model_fields) | {
                "id": 1,
                "type": "round.completed",
                "training_id": ID,
            }
            yield EventOut.model_construct(**event)
        raise KeyboardInterrupt

    def get_training(self, _training_id: str, /) -> TrainingOut:
        return self.training()

    def get_round(self, _training_id: str, number: int, /) -> RoundOut:
        if number not in self.all:
            raise NotFound(404, "no such round")
        return self.all[number]

    def list_events(self, **_: Any) -> EventsOut:
        return EventsOut(items=[], cursor=7, more=False)


def ended(number: int, *, accuracy: float = 0.5, clients: tuple[str, ...] = ("edge-1",), **fields: Any) -> RoundOut:
    """A round that has ended with a model, as the REST API gives it."""
    usual: dict[str, Any] = dict.fromkeys(RoundOut.model_fields) | {
        "number": number,
        "status": "completed",
        "started_at": BEGIN + timedelta(seconds=10 * number),
        "ended_at": BEGIN + timedelta(seconds=10 * number + 4),
        "selected_clients": list(clients),
        "average_accuracy": accuracy,
        "metrics": {"rmse": SummaryOut(mean=0.25, min=0, p25=0, p50=0, p75=1, max=1, clients=1)},
        "training_metrics": {},
        "communication_bytes": 100,
        "fairness": float("nan"),
        "model": f"{number:064x}",
        "participations": [_part(client_id) for client_id in clients],
        "evaluations": [],
    }
    return RoundOut.model_construct(**(usual | fields))


def _part(client_id: str) -> ParticipationOut:
    fields: dict[str, Any] = dict.fromkeys(ParticipationOut.model_fields) | {
        "client_id": client_id, "status": "received", "loss": 0.75, "metrics": {"a//b/..": 2.0}, "seconds": 3.0,
    }  # fmt: skip
    return ParticipationOut.model_construct(**fields)
