"""Write trainings to an MLflow server, over its public REST API.

Each training is a run with the tag ``tcsfeel.training``. Its tag ``tcsfeel.round`` is the number of the last round that
was written, and is sent together with the figures of that round. A round that is written twice leaves no second point,
since MLflow keeps one for each name, step, time and value, and the time of a round's figures is that of its end. The
model versions of a training are those of a registered model, each with the number of its round as a tag, so that the
newest one tells whether a round's version is there already. MLflow refuses sources at other hosts, so the source of a
version is a place among the artifacts of the run, with a file that says where the control plane has the model.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import httpx2

from app.tracking.figures import MOST_CLIENTS, figures, parameters
from app.tracking.tracker import CannotTrack, TrackerAway
from tcsfeel.contract.rounds import RoundOut
from tcsfeel.contract.trainings import TrainingOut
from tcsfeel.text import plain

EXPERIMENT = "tcsfeel"
TRAINING, ROUND = "tcsfeel.training", "tcsfeel.round"
STATES = {"completed": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}  # of runs; all others are running
SECONDS = 30.0
MOST_METRICS, MOST_PARAMS = 500, 100  # in one call; a server takes 1 000 and 100
POINTER = "tcsfeel.json"
"""The file that says where the control plane has a model version."""
PROXIED = "mlflow-artifacts:/"  # the beginning of places to which the server itself writes
LONGEST_VALUE = 500  # characters of a parameter; servers of any age take as many
LONGEST_NAME = 250  # characters of a name; a server refuses longer ones
_TOO_MANY = 429
_TAKEN = "RESOURCE_ALREADY_EXISTS"
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9 _.\-/]")


@dataclass(slots=True, kw_only=True)
class _Run:
    """The run of a training: its `state`, the `place` of its artifacts, and the last round whose model is registered.

    `registered` is None while that is not known.
    """

    id: str
    state: str
    place: str
    registered: int | None = None


class MlflowTracker:
    """Writes to the MLflow server at `url`, into an experiment.

    `server` is the base URL of the control plane, at which model versions can be downloaded. `auth` is a user and a
    password, and `token` a bearer token; without both, calls are sent as they are. Raises `CannotTrack` if the URL is
    not one of a server.
    """

    def __init__(
        self,
        url: str,
        *,
        server: str,
        experiment: str = EXPERIMENT,
        auth: tuple[str, str] | None = None,
        token: str | None = None,
        most_clients: int = MOST_CLIENTS,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._url = _called(url)
        self._http = httpx2.Client(
            base_url=f"{url.rstrip('/')}/api/2.0/mlflow/",
            auth=auth,
            headers={"Authorization": f"Bearer {token}"} if token else None,
            timeout=SECONDS,
            transport=transport,
            trust_env=False,
        )
        self._server = server.rstrip("/")
        self._experiment = experiment
        self._experiment_id: str | None = None
        self._most_clients = most_clients
        self._runs: dict[str, _Run] = {}  # by training

    def begin(self, training: TrainingOut) -> int:
        if self._experiment_id is None:
            self._experiment_id = self._found_experiment()
        experiment = self._experiment_id
        wanted = f"tags.`{TRAINING}` = '{training.id}'"
        found = self._call("POST", "runs/search", {"experiment_ids": [experiment], "filter": wanted, "max_results": 1})
        run = next(iter(found.get("runs", [])), None) or self._created(experiment, training)
        info = run["info"]
        self._runs[training.id] = _Run(id=info["run_id"], state=info["status"], place=info["artifact_uri"])
        last = int(_tags(run["data"]).get(ROUND, -1))
        if last < 0:  # its parameters were not written, or not all of them
            self._configure(training)
        return max(0, last)

    def write(self, training: TrainingOut, round_: RoundOut) -> None:
        if round_.model is not None:
            self._register(training, round_)
        ended = _milliseconds(round_.ended_at or round_.started_at)
        found = figures(round_, most_clients=self._most_clients)
        points = [
            {"key": _name(name), "value": value, "timestamp": ended, "step": round_.number}
            for name, value in found.items()
        ]
        for some in _portions(points, MOST_METRICS):
            self._log(training, metrics=some)
        self._log(training, tags=[{"key": ROUND, "value": str(round_.number)}])

    def end(self, training: TrainingOut) -> None:
        run, state = self._runs[training.id], STATES.get(training.status, "RUNNING")
        if run.state == state:
            return
        ended = {"end_time": _milliseconds(training.updated_at)} if training.status in STATES else {}
        self._call("POST", "runs/update", {"run_id": run.id, "status": state, **ended})
        run.state = state

    def close(self) -> None:
        self._http.close()

    def _found_experiment(self) -> str:
        """Return the id of the experiment, which is made if there is none."""
        named = {"experiment_name": self._experiment}
        try:
            found = self._call("GET", "experiments/get-by-name", named)
        except _Refused as refused:
            if refused.code != _MISSING:
                raise
            return str(self._call("POST", "experiments/create", {"name": self._experiment})["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def _created(self, experiment: str, training: TrainingOut) -> Any:
        body = {
            "experiment_id": experiment,
            "run_name": training.name,
            "start_time": _milliseconds(training.created_at),
            "tags": [{"key": TRAINING, "value": training.id}, {"key": "tcsfeel.server", "value": self._server}],
        }
        return self._call("POST", "runs/create", body)["run"]

    def _configure(self, training: TrainingOut) -> None:
        named: dict[str, str] = {}  # of names that become the same one, the first counts: a parameter cannot change
        for name, value in parameters(training).items():
            named.setdefault(_name(name), value[:LONGEST_VALUE])
        for some in _portions([{"key": name, "value": value} for name, value in named.items()], MOST_PARAMS):
            self._log(training, params=some)
        self._log(training, tags=[{"key": ROUND, "value": "0"}])

    def _register(self, training: TrainingOut, round_: RoundOut) -> None:
        """Register the model version of a round, unless it is registered."""
        run = self._runs[training.id]
        end = f"-{training.id[:8]}"
        name = _NOT_IN_NAMES.sub("_", training.name).replace("/", "_")[: LONGEST_NAME - len(end)] + end
        if run.registered is None:
            run.registered = self._registered(name)
        if run.registered >= round_.number:
            return
        address = f"{self._server}/v1/trainings/{training.id}/model?round={round_.number}"
        tags = {TRAINING: training.id, ROUND: str(round_.number), "sha256": round_.model or "", "tcsfeel.url": address}
        place = f"{run.place}/round-{round_.number}"
        if place.startswith(PROXIED):
            path = f"{place.removeprefix(PROXIED)}/{POINTER}"
            self._call("PUT", f"../mlflow-artifacts/artifacts/{path}", tags)
        body = {
            "name": name,
            "source": place,
            "run_id": run.id,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        run.registered = None  # if the answer gets lost, look again what is registered
        self._call("POST", "model-versions/create", body)
        run.registered = round_.number

    def _registered(self, name: str) -> int:
        """Return the last round whose version is registered under a name, which is made if it is new."""
        try:
            self._call("POST", "registered-models/create", {"name": name})
        except _Refused as refused:
            if refused.code != _TAKEN:
                raise
        query = {"filter": f"name='{name}'", "max_results": 1, "order_by": ["version_number DESC"]}
        found = self._call("GET", "model-versions/search", query).get("model_versions", [])
        return max((int(_tags(one).get(ROUND, 0)) for one in found), default=0)

    def _log(self, training: TrainingOut, **entries: Sequence[Any]) -> None:
        self._call("POST", "runs/log-batch", {"run_id": self._runs[training.id].id, **entries})

    def _call(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        """Make a call, and return its answer. Raises `CannotTrack` or `TrackerAway`."""
        given: dict[str, Any] = {"params": body} if method == "GET" else {"json": body}
        try:
            answer = self._http.request(method, path, **given)
        except httpx2.TransportError as error:
            raise TrackerAway(f"MLflow at {self._url} does not answer: {plain(str(error))}") from error
        try:
            found = answer.json() if answer.content else {}
        except ValueError as error:
            if answer.is_success:
                raise CannotTrack(f"{self._url} is no MLflow server: {path} is answered without JSON") from error
            found = {}  # an error of a proxy, or of MLflow's log-in
        if answer.is_success and isinstance(found, dict):
            return found
        if answer.status_code >= httpx2.codes.INTERNAL_SERVER_ERROR or answer.status_code == _TOO_MANY:
            raise TrackerAway(f"MLflow at {self._url} answered {path} with {answer.status_code}")
        told = found if isinstance(found, dict) else {}
        raise _Refused(
            f"MLflow at {self._url} refused {path} with {answer.status_code}: {plain(str(told.get('message', '')))}",
            str(told.get("error_code", "")),
        )


class _Refused(CannotTrack):
    """The server refused a call. `code` is MLflow's word for why."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


def _tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {one["key"]: one["value"] for one in entity.get("tags", [])}


def _name(name: str) -> str:
    """Return the name of a figure as MLflow takes it: short, no other characters, no path that means another one."""
    return _in_place(_in_place(_NOT_IN_NAMES.sub("_", name))[: LONGEST_NAME - 1])  # the cut may leave an empty part


def _in_place(name: str) -> str:
    """Put ``_`` in the place of each part of a path that would lead elsewhere."""
    return "/".join("_" if part.strip(".") == "" else part for part in name.split("/"))


def _called(url: str) -> str:
    """Return the URL of a server without what may be secret in it. Raises `CannotTrack` if it is none."""
    try:
        read = httpx2.URL(url.rstrip("/"))
    except httpx2.InvalidURL:
        read = httpx2.URL()
    if read.scheme not in {"http", "https"} or not read.host:
        raise CannotTrack("the address of MLflow (--mlflow, or MLFLOW_TRACKING_URI) has to be an http or https URL")
    return str(read.copy_with(userinfo=b""))


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _portions(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
