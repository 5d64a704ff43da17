"""Call the control plane over REST with a key, as any other caller does."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx2

from app.demo.errors import DemoFailed
from tcsfeel.client.parameters import download_model
from tcsfeel.rest.calls import call_json
from tcsfeel.rest.deadlines import limits
from tcsfeel.rest.exchange import Patience, Steps
from tcsfeel.rest.problems import ApiError, Refused, ServerFault, Unavailable
from tcsfeel.rest.transport import BlockingTransport, base_url, headers, no_cookies
from tcsfeel.text import plain
from tcsfeel.wire.codec import Parameters

Result = TypeVar("Result")
ENDED = {"completed", "failed", "cancelled"}  # the statuses of a training that has ended


class Plane:
    """A client for one control plane.

    Args:
        url: the base URL of the control plane.
        key: an API key of the control plane.
        check: raises `DemoFailed` if it knows a better reason for a broken connection.
        transport: replaces the network in tests.
    """

    def __init__(
        self, url: str, key: str, *, check: Callable[[], None], transport: httpx2.BaseTransport | None = None
    ) -> None:
        self.url = url
        self._check = check
        http = httpx2.Client(
            base_url=base_url(url),
            headers=headers(key),
            cookies=no_cookies(),
            limits=limits(),
            transport=transport,
            trust_env=False,
        )
        self._transport = BlockingTransport(http, Patience(attempts=1))  # one attempt, so that a demo shows what fails

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.http.close()

    def is_ready(self) -> bool:
        """Tell whether the control plane is ready for work."""
        self._check()
        try:
            self._transport.run(call_json("GET", "/readyz"))
        except ApiError:
            return False
        return True

    def get(self, path: str) -> Any:
        """Return the JSON of a path. This and the following methods raise `DemoFailed` if the call fails."""
        return self._call("GET", path)

    def post(self, path: str, body: object = None) -> Any:
        return self._call("POST", path, body)

    def put(self, path: str, body: object) -> Any:
        return self._call("PUT", path, body)

    def model(self, training_id: str) -> Parameters:
        """Download the newest model of a training."""
        path = f"/v1/trainings/{training_id}/model"
        return self._told("GET", path, download_model(training_id))

    def _call(self, method: str, path: str, body: object = None) -> Any:
        return self._told(method, path, call_json(method, path, body))

    def _told(self, method: str, path: str, steps: Steps[Result]) -> Result:
        try:
            return self._transport.run(steps)
        except Refused as error:
            raise DemoFailed(f"the control plane refused {method} {path}: {_reason(error)}") from error
        except ApiError as error:
            self._check()
            raise DemoFailed(f"the control plane does not answer {method} {path}: {error}") from error


def _reason(error: Refused) -> str:
    """Return the reason of a refusal in one line, with a hint where to look for more."""
    errors = [f"{field.pointer}: {field.detail}" for field in error.errors]
    hint = " (the demo's --keep keeps the logs)" if isinstance(error, ServerFault | Unavailable) else ""
    return f"{error.status} {plain('; '.join(errors) or error.detail)}{hint}"
