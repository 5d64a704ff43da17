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
            host = None if endpoint is None else urlsplit(endpoint)
        except ValueError:
            match = host = None
        if match is None:
            raise ValueError("must be a URL such as s3://bucket/prefix?endpoint=https://host:9000&region=us-east-1")
        region = given.pop("region", None)
        if given:
            raise ValueError("may have only endpoint and region after the ?: set credentials in AWS_… variables")
        if host is not None and (host.scheme not in {"http", "https"} or not host.hostname or "@" in host.netloc):
            raise ValueError("must have an endpoint that is http://host or https://host, without credentials")
        return cls(match["name"], match["prefix"] or "", endpoint, region)


_BUCKET = re.compile(
    r"s3://(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{1,62})"
    r"/?(?P<prefix>[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*)?/?(?:\?(?P<query>.*))?"
)
