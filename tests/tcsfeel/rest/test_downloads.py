"""Bodies of tasks that break off on their way to an agent that pulls."""

from collections.abc import Iterator

import httpx2
import pytest

from tcsfeel.rest.downloads import LEAST_BYTES, TRIES
from tcsfeel.rest.exchange import Patience, Steps
from tcsfeel.rest.problems import NoAnswer, UnexpectedAnswer
from tcsfeel.rest.tasks import NextTask, get_task, next_task
from tcsfeel.rest.transport import BlockingTransport
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest

BODY = bytes(range(256)) * (4 * LEAST_BYTES // 256)
ETAG = f'"{digest_of([BODY]).hex()}"'
NEXT, AGAIN = "/v1/clients/c/tasks/next", "/v1/clients/c/tasks/t.1.c.fit"


class Torn(httpx2.SyncByteStream):
    """A body that breaks off after its last byte."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield self._body
        raise httpx2.ReadError("lost")


class Server:
    """A control plane whose bodies break off `every` so many bytes."""

    def __init__(self, every: int, *, etag: str = ETAG, status: int = 206, body: bytes = BODY) -> None:
        self.every = every
        self.etag = etag
        self.status = status
        self.body = body
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        wanted = request.headers.get("Range", "")
        self.asked.append((request.url.path, wanted))
        begins = int(wanted.removeprefix("bytes=").removesuffix("-") or 0)
        if wanted:
            assert request.headers["If-Match"] == self.etag
            if self.status >= 400:
                return httpx2.Response(self.status, json={"detail": "gone"})
        headers = {
            "ETag": self.etag,
            "Tcsfeel-Task": "t.1.c.fit",
            "Content-Length": str(len(self.body) - begins),
            CONTENT_DIGEST: written_digest(digest_of([BODY])),
            "Content-Range": f"bytes {begins}-{len(self.body) - 1}/{len(self.body)}",
        }
        ends = begins + self.every
        stream = httpx2.ByteStream(self.body[begins:]) if ends >= len(self.body) else Torn(self.body[begins:ends])
        return httpx2.Response(self.status if wanted else 200, stream=stream, headers=headers)


def ask(server: Server, steps: Steps[NextTask]) -> NextTask:
    http = httpx2.Client(transport=httpx2.MockTransport(server), base_url="http://plane")
    return BlockingTransport(http, Patience(), sleep=lambda _: None).run(steps)


def first(server: Server) -> NextTask:
    return ask(server, next_task("c", wait=0))


def test_a_task_goes_on_where_it_broke_off_and_is_not_taken_again() -> None:
    server = Server(2 * LEAST_BYTES - 1)
    found = first(server)
    assert (found.task_id, bytes(found.body)) == ("t.1.c.fit", BODY)
    step = 2 * LEAST_BYTES - 1
    assert server.asked == [(NEXT, ""), (AGAIN, f"bytes={step}-"), (AGAIN, f"bytes={2 * step}-")]


def test_tries_that_bring_little_come_to_an_end() -> None:
    server = Server(1)
    with pytest.raises(NoAnswer, match="lost"):
        first(server)
    assert len(server.asked) == 1 + TRIES


@pytest.mark.parametrize("status", [404, 409, 410, 412])
def test_a_task_whose_rest_cannot_be_had_is_asked_for_anew(status: int) -> None:
    server = Server(LEAST_BYTES, status=status)
    with pytest.raises(NoAnswer, match="cannot be had any more"):
        first(server)
    assert len(server.asked) == 2


def test_another_body_is_not_put_behind_the_first_one() -> None:
    with pytest.raises(UnexpectedAnswer, match="another part"):
        first(Server(LEAST_BYTES, status=200))


def test_the_whole_has_to_fit_its_digest() -> None:
    with pytest.raises(UnexpectedAnswer, match="corrupted on the way"):
        first(Server(LEAST_BYTES, body=BODY[:-1] + b"x"))


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_a_body_without_a_strong_etag_is_not_gone_on_with(etag: str) -> None:
    server = Server(LEAST_BYTES, etag=etag)
    with pytest.raises(NoAnswer):
        first(server)
    assert {path for path, _ in server.asked} == {NEXT}


def test_a_task_can_be_downloaded_once_more() -> None:
    server = Server(2 * LEAST_BYTES)
    found = ask(server, get_task("c", "t.1.c.fit"))
    assert bytes(found.body) == BODY
    assert server.asked == [(AGAIN, ""), (AGAIN, f"bytes={2 * LEAST_BYTES}-")]
