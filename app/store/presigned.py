"""URLs by which somebody without credentials may read or write one object of a bucket for some time.

Such a URL is signed (Signature Version 4, in its query), and whoever knows it can use it: it is a secret until it
expires. It names the store by its public endpoint, since devices may reach the store at another address than servers.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Literal

import obstore
from obstore.exceptions import BaseError

from app.buckets import Bucket
from app.store.bucket import ObjectStoreUnavailable, objects_of
from app.store.bucket_uploads import PREFIX

LONGEST_SECONDS = 7 * 86_400  # that S3 accepts


class PresignedUrls:
    """Signs URLs of the objects of a bucket, with the credentials in the environment.

    `endpoint` is where devices reach the store; None if that is where servers reach it. Calls block where the
    credentials are fetched from elsewhere: use a thread.
    """

    def __init__(self, bucket: Bucket, endpoint: str | None = None) -> None:
        self._objects = objects_of(replace(bucket, endpoint=endpoint or bucket.endpoint))

    def to_read(self, sha256: str, seconds: float) -> str:
        """Return a URL by which a file can be read for so many seconds, a week at most.

        Raises `ObjectStoreUnavailable` if there are no credentials to sign with.
        """
        return self._signed("GET", sha256, seconds)

    def to_write(self, task_id: str, seconds: float) -> str:
        """Return a URL by which the result of a task can be put among the `BucketUploads`, as `to_read` does."""
        return self._signed("PUT", f"{PREFIX}{task_id}", seconds)

    def _signed(self, method: Literal["GET", "PUT"], name: str, seconds: float) -> str:
        expires = timedelta(seconds=max(1, min(int(seconds), LONGEST_SECONDS)))
        try:
            return obstore.sign(self._objects, method, name, expires)
        except (BaseError, OSError, ValueError) as error:  # its text may have a part of the credentials
            raise ObjectStoreUnavailable(f"a URL could not be signed ({type(error).__name__})") from None
