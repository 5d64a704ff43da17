"""A training's parameters as they are downloaded: the newest or a version, whole or in part."""

import hashlib

import numpy as np
import pytest

from app.store.models import ModelVersion
from tcsfeel.wire.codec import encode
from tests.api import Api, assert_problem
from tests.routers.samples import MODEL, SHA256


async def test_without_parameters_there_is_nothing_to_download(sqlite_api: Api) -> None:
    training_id = await sqlite_api.create_training()
    assert_problem(await sqlite_api.http.get(f"/v1/trainings/{training_id}/model"), 404)


async def test_the_newest_version_is_downloaded_unless_a_round_is_named(sqlite_api: Api, training: str) -> None:
    newer = encode({"w": np.ones(2, np.float32)})
    directory = sqlite_api.system.settings.model_directory
    sha256 = hashlib.sha256(newer).hexdigest()
    (directory / sha256).write_bytes(newer)
    version = ModelVersion(
        training_id=training, round=3, sha256=sha256, parent=SHA256, size=len(newer), created_at=1_000_000
    )
    async with sqlite_api.system.db.begin() as tx:
        await tx.models.add(version)
    path = f"/v1/trainings/{training}/model"
    assert (await sqlite_api.http.get(path)).content == newer
    assert (await sqlite_api.http.get(f"{path}?round=3")).content == newer
    assert (await sqlite_api.http.get(f"{path}?round=0")).content == MODEL
    assert_problem(await sqlite_api.http.get(f"{path}?round=2"), 404)


async def test_a_version_that_is_known_answers_304(sqlite_api: Api, training: str) -> None:
    path = f"/v1/trainings/{training}/model"
    for known in (f'"{SHA256}"', f'W/"{SHA256}"', f'"x", "{SHA256}"', "*"):
        response = await sqlite_api.http.get(path, headers={"If-None-Match": known})
        assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", f'"{SHA256}"')
    assert (await sqlite_api.http.get(path, headers={"If-None-Match": '"x"'})).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-7", slice(0, 8)),
        ("bytes=8-", slice(8, None)),
        ("bytes=-4", slice(-4, None)),
        ("bytes=0-999999", slice(0, None)),
        ("bytes=-999999", slice(0, None)),
    ],
)
async def test_a_range_answers_206_with_that_part(sqlite_api: Api, training: str, wanted: str, part: slice) -> None:
    response = await sqlite_api.http.get(f"/v1/trainings/{training}/model", headers={"Range": wanted})
    assert (response.status_code, response.content) == (206, MODEL[part])
    start, stop, _ = part.indices(len(MODEL))
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(MODEL)}"
    assert response.headers["ETag"] == f'"{SHA256}"'


async def test_several_ranges_answer_206_in_parts(sqlite_api: Api, training: str) -> None:
    response = await sqlite_api.http.get(f"/v1/trainings/{training}/model", headers={"Range": "bytes=0-7, -4"})
    assert response.status_code == 206
    assert response.headers["Content-Type"].startswith("multipart/byteranges")
    assert MODEL[:8] in response.content
    assert MODEL[-4:] in response.content


NOT_THERE = [
    f"bytes={len(MODEL)}-",
    "bytes=999999-",
    "bytes=-0",
    "bytes=5-2",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=a-b",
    "bytes=0-1,",
    "bytes=0-1,999999-",
    "bytes=0--1",
    "bytes=1",
    f"bytes={'9' * 40}-",
]


async def test_a_range_that_is_not_there_answers_416(sqlite_api: Api, training: str) -> None:
    for wanted in NOT_THERE:
        response = await sqlite_api.http.get(f"/v1/trainings/{training}/model", headers={"Range": wanted})
        assert_problem(response, 416, "/header/range")
        assert response.headers["Content-Range"] == f"bytes */{len(MODEL)}"


@pytest.mark.parametrize(
    "headers",
    [{"Range": "items=0-1"}, {"Range": ""}, {"Range": "bytes=0-1", "If-Range": '"another"'}],
)
async def test_a_range_that_does_not_apply_is_ignored(sqlite_api: Api, training: str, headers: dict[str, str]) -> None:
    response = await sqlite_api.http.get(f"/v1/trainings/{training}/model", headers=headers)
    assert (response.status_code, response.content) == (200, MODEL)


async def test_a_download_goes_on_where_it_stopped(sqlite_api: Api, training: str) -> None:
    headers = {"Range": "bytes=8-", "If-Range": f'"{SHA256}"'}
    response = await sqlite_api.http.get(f"/v1/trainings/{training}/model", headers=headers)
    assert (response.status_code, response.content) == (206, MODEL[8:])
