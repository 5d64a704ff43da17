"""A real S3 server in the test's process, on a socket of 127.0.0.1, which can be stopped, started, and made to refuse.

It keeps what it has in memory, for all servers of the process: a server that is started again has its objects still.
"""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from app.buckets import Bucket
from tests.e2e.servers import free_port

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "an-id-for-tests", "AWS_SECRET_ACCESS_KEY": "a-secret-for-tests"}


class BucketServer:
    """A server with one new bucket, `name`. `CREDENTIALS` belong into the environment of whoever talks to it."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.name = f"models-{secrets.token_hex(8)}"
        self.url = f"s3://{self.name}/some/prefix?endpoint={self.endpoint}&region=us-east-1"
        self._server: ThreadedMotoServer | None = None
        self.start()
        httpx2.put(f"{self.endpoint}/{self.name}").raise_for_status()

    @property
    def bucket(self) -> Bucket:
        return Bucket.parse(self.url)

    @property
    def objects(self) -> S3Store:
        """The bucket, without the product's prefix."""
        return S3Store(
            self.name,
            config={
                "endpoint": self.endpoint,
                "access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
                "secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            },
            client_options={"allow_http": True},
        )

    def names(self) -> list[str]:
        """Of the objects."""
        return sorted(entry["path"] for page in obstore.list(self.objects) for entry in page)

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Nobody listens on the port any more."""
        if self._server is not None:
            self._server.stop()
        self._server = None

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Meanwhile the credentials are not among those that the server knows."""
        self._check_signatures("0")
        try:
            yield
        finally:
            self._check_signatures("inf")

    def _check_signatures(self, after: str) -> None:
        httpx2.post(f"{self.endpoint}/moto-api/reset-auth", content=after).raise_for_status()


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    server = BucketServer()
    try:
        yield server
    finally:
        server.stop()
