"""URLs by which agents read one file of a bucket, without credentials of their own."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from app.buckets import Bucket
from app.store.bucket import BucketStore
from app.store.model_store import ModelStore
from app.store.presigned import LONGEST_SECONDS, PresignedUrls
from tests.buckets import CREDENTIALS, BucketServer


def test_a_file_is_read_by_its_url_and_no_other_one(bucket_server: BucketServer, tmp_path: Path) -> None:
    store = BucketStore(bucket_server.bucket, ModelStore(tmp_path))
    one, other = store.write([b"one"]), store.write([b"other"])
    url = PresignedUrls(bucket_server.bucket).to_read(one.sha256, 60.0)
    assert httpx2.get(url).content == b"one"
    assert other.sha256 not in url
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in url


@pytest.mark.parametrize(
    ("seconds", "expires"), [(90.7, 90), (0.2, 1), (1e9, LONGEST_SECONDS), (LONGEST_SECONDS, 604_800)]
)
def test_a_url_names_the_public_endpoint_and_expires_with_its_task(
    credentials: dict[str, str], seconds: float, expires: int
) -> None:
    bucket = Bucket("models", "some/prefix", "http://10.0.0.7:9000", "eu-west-1")
    url = urlsplit(PresignedUrls(bucket, "https://store.example:8443").to_read("f" * 64, seconds))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc, url.path) == ("https", "store.example:8443", f"/models/some/prefix/{'f' * 64}")
    assert query["X-Amz-Expires"] == [str(expires)]
    assert query["X-Amz-Credential"][0].startswith(credentials["AWS_ACCESS_KEY_ID"])
    assert query["X-Amz-SignedHeaders"] == ["host"]  # so that a range may be asked for
