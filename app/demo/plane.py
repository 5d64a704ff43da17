"""The control plane as anybody sees it: over REST, with a key."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from app.demo.errors import DemoFailed
from tcsfeel.wire.codec import Parameters, decode

TIMEOUT = 30.0  # s
ENDED = {"completed", "failed", "cancelled"}  # how a training may be when it has ended


class Plane:
    """A client for one control plane.

    Args:
        url: its base URL.
        key: an API key of it.
        check: raises where there is a better reason for a broken connection.
        transport: replaces the network in tests.
    """

    def __init__(
        self, url: str, key: str, *, check: Callable[[], None], transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url
        self._check = check
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=TIMEOUT,
            transport=transport,
            trust_env=False,  # a proxy from the environment is for the world outside
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def is_ready(self) -> bool:
        """Whether it would take work on now."""
        self._check()
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str) -> Any:
        """Raises `DemoFailed`, as all of these do, unless the answer is a success."""
        return self._call("GET", path).json()

    def post(self, path: str, body: object = None) -> Any:
        return self._call("POST", path, body).json()

    def put(self, path: str, body: object) -> Any:
        return self._call("PUT", path, body).json()

    def model(self, training_id: str) -> Parameters:
        """The newest model of a training."""
        parameters, _ = decode(self._call("GET", f"/v1/trainings/{training_id}/model").content)
        return parameters

    def _call(self, method: str, path: str, body: object = None) -> httpx.Response:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            self._check()
            raise DemoFailed(f"the control plane does not answer {method} {path}: {error!r}") from error
        if not answer.is_success:
            raise DemoFailed(f"the control plane refused {method} {path}: {answer.status_code} {_reason(answer)}")
        return answer


def _reason(answer: httpx.Response) -> str:
    """What a problem document says, or what came instead of one, on one line; where to look for more."""
    try:
        problem = answer.json()
        errors = [f"{error['pointer']}: {error['detail']}" for error in problem.get("errors") or ()]
        text = "; ".join(errors) or problem["detail"]
    except (ValueError, KeyError, TypeError, AttributeError):
        text = answer.text
    hint = " (the demo's --keep keeps the logs)" if answer.is_server_error else ""
    return " ".join(str(text).split())[:300] + hint
