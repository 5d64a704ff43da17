"""A host with one file, which agents fetch by a URL that is a secret."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np

from tcsfeel.wire.codec import Parameters, encode
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.tasks import Source, Task, task_metadata
from tests.serving import serving

SECRET = "X-Amz-Signature=0123456789abcdef"
PATH = "/models/some%20prefix/file"
PARAMETERS: Parameters = {"w": np.arange(4, dtype=np.float32)}
FILE = encode(PARAMETERS)


class Host:
    """What the host was asked, and where it is."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.put: list[bytes] = []

    def source(self, file: bytes = FILE, *, size: int | None = None, upload: str = "") -> Source:
        """Say that this file is there, and that an update may be put at the path `upload`."""
        return Source(
            url=f"{self.url}{PATH}?{SECRET}",
            sha256=digest_of([file]).hex(),
            size=len(file) if size is None else size,
            upload=upload and f"{self.url}{upload}?{SECRET}",
        )


@contextmanager
def host(
    status: int = 200, body: bytes = FILE, cut: int | None = None, *, takes: int = 200, **headers: str
) -> Iterator[Host]:
    """Answer each question so. `cut` is the byte at which the first answer breaks off.

    `takes` is the status of the answer to a `PUT`.
    """
    cuts = [] if cut is None else [cut]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            begins = int(self.headers.get("Range", "bytes=0-")[6:-1])
            self.send_response(206 if begins else status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("ETag", '"1"')
            self.send_header("Content-Range", f"bytes {begins}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - begins))
            self.end_headers()
            self.wfile.write(body[begins : cuts.pop() if cuts else len(body)])

        def do_PUT(self) -> None:
            found.asked.append((self.path, dict(self.headers)))
            found.put.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(takes)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(HTTPServer(("127.0.0.1", 0), Handler)) as server:
        found = Host(f"http://127.0.0.1:{server.server_port}")
        yield found


def body_by_url(task: Task, source: Source) -> bytes:
    """The body of a task that comes without its parameters."""
    return encode({}, {**task_metadata(task), "source": source.to_json()})
