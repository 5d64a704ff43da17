"""Results that agents have put into the bucket, each under the id of its task, until a server has taken them.

They are apart from the files of models, whose names are trusted: whatever an agent has put there is wrong until its
size and its SHA-256 have been checked. All calls block: use a thread.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import obstore

from app.buckets import Bucket
from app.store.bucket import PART, asking, objects_of
from app.store.model_store import FileTooLarge

PREFIX = "uploads/"


class BucketUploads:
    """The uploads in a bucket. Calls raise `ObjectStoreUnavailable` if it does not answer, or refuses."""

    def __init__(self, bucket: Bucket) -> None:
        self._place = f"s3://{bucket.name}/{bucket.prefix}".rstrip("/")
        self._objects = objects_of(bucket)

    def parts(self, task_id: str, most: int) -> Iterator[memoryview]:
        """Yield the upload of a task in parts.

        An agent that replaces it meanwhile makes parts that do not belong together, as its SHA-256 shows.

        Raises:
            NotFound: there is none.
            FileTooLarge: it has more than `most` bytes, of which none is read then.
        """
        name = f"{PREFIX}{task_id}"
        with asking(self._place, ("upload of the task", task_id)):
            answer = obstore.get(self._objects, name)  # not HEAD, whose answer cannot say what is missing
            size = answer.meta["size"]
        if size > most:
            raise FileTooLarge(most)
        for start in range(0, size, PART):
            with asking(self._place, ("upload of the task", task_id)):
                if size <= PART:
                    part = memoryview(answer.bytes())
                else:
                    part = memoryview(obstore.get_range(self._objects, name, start=start, end=min(start + PART, size)))
            yield part

    def remove(self, task_id: str) -> None:
        """Remove the upload of a task, if there is one."""
        with asking(self._place):
            obstore.delete(self._objects, f"{PREFIX}{task_id}")

    def sweep(self, seconds: float) -> int:
        """Remove uploads that have been there for `seconds`: nobody has taken them. Returns how many."""
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        with asking(self._place):
            listed = [entry for page in obstore.list(self._objects, PREFIX) for entry in page]
            if old := [entry["path"] for entry in listed if entry["last_modified"] < before]:
                obstore.delete(self._objects, old)
        return len(old)
