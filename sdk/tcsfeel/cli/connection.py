"""Connect commands to a control plane, and end them with a one-line reason if it refuses a call."""

from collections.abc import Iterator, Sequence
from typing import Any, Self, TypeVar

import httpx2

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import ca_file, find_key
from tcsfeel.rest.calls import HOLD_SECONDS, PAGE, all_items, call_json, one_page
from tcsfeel.rest.cursors import Cursors
from tcsfeel.rest.deadlines import Deadline, DeadlineTransport
from tcsfeel.rest.exchange import Patience, Steps
from tcsfeel.rest.paths import path
from tcsfeel.rest.problems import ApiError, Refused
from tcsfeel.rest.transport import BlockingTransport, base_url, headers, no_cookies

Result = TypeVar("Result")
USUAL = Patience(attempts=3, deadline_seconds=30.0)


class Connection:
    """Calls of the REST API that end the command if they fail."""

    def __init__(self, server: str, key: str | None, patience: Patience = USUAL) -> None:
        deadline = Deadline()
        try:
            http = httpx2.Client(
                base_url=base_url(server),
                headers=headers(find_key(key)),
                cookies=no_cookies(),
                transport=DeadlineTransport(deadline, ca_file()),
                trust_env=False,
            )
        except ValueError as error:
            fail(str(error))
        self._transport = BlockingTransport(http, patience, deadline=deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.http.close()

    def call(self, method: str, template: str, *parts: str, json: object = None, key: str | None = None) -> Any:
        """Call the API and return the body of the answer. With a `key`, a POST can be repeated.

        The parts are filled into the template of the path (`tcsfeel.rest.paths`).
        """

        def steps() -> Steps[Any]:
            headers = {"Idempotency-Key": key} if key else None
            return (yield from call_json(method, path(template, *parts), json, headers=headers))

        return self._run(steps())

    def all(self, where: str) -> list[Any]:
        """Return every item of a list, read page by page."""
        return self._run(all_items(where))

    def each(self, where: str, filters: Sequence[tuple[str, str]] = ()) -> Iterator[Any]:
        """Yield every item of a list, which is read page by page, so that a long list needs little memory."""
        cursors = Cursors()
        cursor: str | None = None
        while True:
            items, cursor = self._run(one_page(where, filters, cursor, cursors))
            yield from items
            if cursor is None:
                return

    def events(self, filters: Sequence[tuple[str, str]], after: int, *, follow: bool) -> Iterator[Any]:
        """Yield events after a cursor, oldest first. With `follow`, wait for further ones without end."""
        while True:
            hold = HOLD_SECONDS if follow else 0
            params = [*filters, ("after", str(after)), ("wait", str(hold)), ("limit", str(PAGE))]
            page = Fields(self._run(call_json("GET", "/v1/events", params=params, wait_seconds=hold)), "events")
            yield from page.items("items")
            after, more = max(after, page.whole("cursor")), page.value.get("more") is True
            if not (follow or (more and page.items("items"))):
                return

    def _run(self, steps: Steps[Result]) -> Result:
        try:
            return self._transport.run(steps)
        except Refused as error:
            fail(f"{error.status}: {error.detail}")
        except ApiError as error:
            fail(str(error))
