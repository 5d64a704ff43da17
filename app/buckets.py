"""The name of a bucket, as settings give it."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Bucket:
    """A place in an S3-compatible store. Credentials, and fields that are None, come from ``AWS_…`` variables."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Bucket":
        """Parse ``s3://bucket/prefix?endpoint=https://host&region=name``. The error does not repeat the URL."""
        match = _BUCKET.fullmatch(url)
        try:
            given = dict(parse_qsl(match["query"] or "", strict_parsing=bool(match["query"]))) if match else {}
            endpoint = given.pop("endpoint", None)
        except ValueError:
            match = endpoint = None
        if match is None:
            raise ValueError("must be a URL such as s3://bucket/prefix?endpoint=https://host:9000&region=us-east-1")
        region = given.pop("region", None)
        if given:
            raise ValueError("may have only endpoint and region after the ?: set credentials in AWS_… variables")
        if endpoint is not None and not is_endpoint(endpoint):
            raise ValueError("must have an endpoint that is http://host or https://host, without credentials")
        return cls(match["name"], match["prefix"] or "", endpoint, region)


def is_endpoint(url: str) -> bool:
    """Tell whether a URL can be that of a store: ``http://host`` or ``https://host``, without credentials."""
    try:
        host = urlsplit(url)
    except ValueError:
        return False
    return host.scheme in {"http", "https"} and bool(host.hostname) and "@" not in host.netloc


_BUCKET = re.compile(
    r"s3://(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{1,62})"
    r"/?(?P<prefix>[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?/?(?:\?(?P<query>.*))?"
)
