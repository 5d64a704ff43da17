"""A training's parameters over HTTP: uploaded, listed, pinned, removed, on a disk or in a bucket."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from structlog.testing import capture_logs

from tcsfeel.wire.codec import MEDIA_TYPE, encode
from tests.api import NOW, Api, assert_problem, running_api
from tests.buckets import BucketServer
from tests.routers.samples import MODEL, SHA256
from tests.routers.test_changing_trainings import made
from tests.store.samples import a_round, version


def file(header: Any, block: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + block


def tensor(*shape: int, dtype: str = "F32", offsets: tuple[int, int] = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


async def test_parameters_are_uploaded_and_downloaded_by_their_sha256(api: Api) -> None:
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}/model"
    response = await api.http.put(path, content=MODEL, headers={"Content-Type": MEDIA_TYPE})
    assert response.status_code == 200
    assert response.json() == {
        "round": 0,
        "sha256": SHA256,
        "parent": None,
        "size": len(MODEL),
        "created_at": NOW,
    }
    assert response.headers["ETag"] == f'"{SHA256}"'
    assert (await api.http.get(f"/v1/trainings/{training_id}")).json()["model"] == SHA256
    for query in ("", "?round=0"):
        answer = await api.http.get(path + query)
        assert (answer.status_code, answer.content) == (200, MODEL)
        assert answer.headers["ETag"] == f'"{SHA256}"'
        assert answer.headers["Content-Type"] == MEDIA_TYPE
        assert answer.headers["Accept-Ranges"] == "bytes"


async def test_until_the_first_round_another_upload_replaces_the_first(api: Api) -> None:
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}/model"
    other = encode({"w": np.ones(2, np.float32)})
    for content in (MODEL, MODEL, other):
        assert (await api.http.put(path, content=content)).status_code == 200
    assert (await api.http.get(path)).content == other


async def test_a_training_that_has_begun_takes_no_parameters(api: Api) -> None:
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}/model"
    await api.http.post(f"/v1/trainings/{training_id}/start")
    before = await api.stored()
    problem = assert_problem(await api.http.put(path, content=MODEL), 409)
    assert problem["detail"] == "cannot upload initial parameters for a training that is running"
    assert await api.stored() == before


NO_MODELS = [
    # a file, and what the refusal points at
    (b"", ""),
    (b"\0" * 7, ""),
    (b"not parameters at all", ""),
    (struct.pack("<Q", 2**63), ""),
    (file(b"{"), ""),
    (file(b"[]"), ""),
    (file(b"\xff\xfe"), ""),
    (file(b"[" * 100_000), ""),
    (file({}), ""),
    (file({"__metadata__": {"a": 1}}), ""),
    (file({"w": tensor(1)}), ""),
    (file({"w": tensor(1)}, b"\0" * 5), ""),
    (file({"w": tensor(2)}, b"\0" * 4), ""),
    (file({"w": tensor(1, dtype="F99")}, b"\0" * 4), ""),
    (file({"w": tensor(-1)}, b"\0" * 4), ""),
    (file({"w": tensor(2**40, 2**40)}, b"\0" * 4), ""),
    (file({"w": tensor(2**62, 4, 0, offsets=(0, 0))}), ""),
    (file({"w": tensor(1), "v": tensor(1)}, b"\0" * 4), ""),
    (file({"w": tensor(1, offsets=(4, 8))}, b"\0" * 8), ""),
    (file({"w": tensor(1), "w2": {}}, b"\0" * 4), ""),
    (encode({"w": np.array([1, np.nan], np.float32)}), "/w"),
    (encode({"a/b~c": np.array(np.inf)}), "/a~1b~0c"),
    (file({"\ud800": tensor(1)}, np.float32(np.nan).tobytes()), ""),
    (encode({"w\0": np.array(np.nan)}), "/w\0"),
]


async def test_a_model_without_room_for_control_variates_is_refused(sqlite_api: Api) -> None:
    for name in ("control/w", "x" * 250):
        model = encode({name: np.ones(1, np.float32)})
        answers = {}
        for rule in ("scaffold", "fedavg"):
            training = await made(sqlite_api, aggregation=rule)
            answers[rule] = await sqlite_api.http.put(f"/v1/trainings/{training['id']}/model", content=model)
        problem = assert_problem(answers["scaffold"], 422, "")
        assert "the model cannot be trained with SCAFFOLD: tensor " in problem["detail"]
        assert answers["fedavg"].status_code == 200


async def test_a_file_that_holds_no_model_is_refused_and_leaves_no_trace(sqlite_api: Api, training: str) -> None:
    before = await sqlite_api.stored()
    for content, pointer in NO_MODELS:
        assert_problem(await sqlite_api.http.put(f"/v1/trainings/{training}/model", content=content), 422, pointer)
        assert await sqlite_api.stored() == before, content[:100]


async def test_a_model_store_that_takes_nothing_in_answers_507_until_it_does(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url) as api:
        path = f"/v1/trainings/{await api.create_training()}/model"
        (tmp_path / "data" / "models").rmdir()
        (tmp_path / "data" / "models").write_text("in the way of the directory")
        with capture_logs() as logged:
            problem = assert_problem(await api.http.put(path, content=MODEL), 507)
        assert problem["type"] == "urn:tcsfeel:problem:storage-unavailable"
        assert [line["event"] for line in logged if line["log_level"] == "error"] == [
            "the model store cannot store a file"
        ]
        (tmp_path / "data" / "models").unlink()
        assert (await api.http.put(path, content=MODEL)).status_code == 200


async def test_models_of_a_bucket_are_served_by_every_machine_also_in_parts(
    tmp_path: Path, sqlite_url: str, bucket_server: BucketServer
) -> None:
    place: dict[str, Any] = {"models": {"url": bucket_server.url}}
    async with running_api(tmp_path / "one", sqlite_url, **place) as one:
        path = f"/v1/trainings/{await one.create_training()}/model"
        assert (await one.http.put(path, content=MODEL)).status_code == 200
        assert bucket_server.names() == [f"some/prefix/{SHA256}"]
    async with running_api(tmp_path / "other", sqlite_url, **place) as other:
        part = await other.http.get(path, headers={"Range": "bytes=8-15"})
        assert (part.status_code, part.content) == (206, MODEL[8:16])
        bucket_server.stop()
        whole = await other.http.get(path)  # it has it by now
        assert (whole.status_code, whole.content) == (200, MODEL)


async def test_a_bucket_that_does_not_answer_answers_503_until_it_does(
    tmp_path: Path, sqlite_url: str, bucket_server: BucketServer
) -> None:
    place: dict[str, Any] = {"models": {"url": bucket_server.url}}
    async with running_api(tmp_path / "one", sqlite_url, **place) as one:
        path = f"/v1/trainings/{await one.create_training()}/model"
        bucket_server.stop()
        with capture_logs() as logged:
            problem = assert_problem(await one.http.put(path, content=MODEL), 503)
        assert problem["type"] == "urn:tcsfeel:problem:object-store-unavailable"
        errors = [line for line in logged if line["log_level"] == "error"]
        assert [line["event"] for line in errors] == ["the object store does not answer as it should"]
        assert "no answer (Connect)" in errors[0]["reason"]
        assert_problem(await one.http.get(path), 404)  # no version was made of what is not stored
        bucket_server.start()
        assert (await one.http.put(path, content=MODEL)).status_code == 200
    async with running_api(tmp_path / "other", sqlite_url, **place) as other:
        with bucket_server.refusing():
            response = await other.http.get(path)
            assert_problem(response, 503)
            assert response.headers["Retry-After"] == "5"
        assert (await other.http.get(path)).content == MODEL


async def test_a_model_above_the_limit_answers_413_and_leaves_no_trace(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, models={"max_bytes": len(MODEL) - 1}) as api:
        training_id = await api.create_training()
        before = await api.stored()
        problem = assert_problem(await api.http.put(f"/v1/trainings/{training_id}/model", content=MODEL), 413)
        assert problem["type"] == "urn:tcsfeel:problem:too-large"
        assert await api.stored() == before


async def test_a_model_may_be_larger_than_any_other_body(tmp_path: Path, sqlite_url: str) -> None:
    large = encode({"w": np.zeros(1000, np.float32)})
    async with running_api(tmp_path / "data", sqlite_url, max_body_bytes=1024) as api:
        training_id = await api.create_training()
        assert (await api.http.put(f"/v1/trainings/{training_id}/model", content=large)).status_code == 200


async def add_versions(api: Api, training_id: str, *accuracies: float | None) -> None:
    """Rounds with versions of one byte each, as they would be stored."""
    async with api.system.db.begin() as tx:
        for number, accuracy in enumerate(accuracies, start=1):
            await tx.rounds.add(
                a_round(training_id, number, status="completed", average_accuracy=accuracy, goal_value=accuracy)
            )
            await tx.models.add(version(number, str(number), training_id=training_id, parent=f"{number - 1}" * 64))


async def test_versions_are_listed_newest_first_with_what_was_measured_of_them(api: Api) -> None:
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}/models"
    assert (await api.http.get(path)).json() == {"items": [], "next_cursor": None}
    await api.http.put(f"/v1/trainings/{training_id}/model", content=MODEL)
    await add_versions(api, training_id, 0.5, None)
    first = (await api.http.get(path, params={"limit": 2})).json()
    assert [(item["round"], item["accuracy"], item["goal_value"]) for item in first["items"]] == [
        (2, None, None),
        (1, 0.5, 0.5),
    ]
    rest = (await api.http.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert rest == {
        "items": [
            {
                "round": 0,
                "sha256": SHA256,
                "parent": None,
                "size": len(MODEL),
                "created_at": NOW,
                "accuracy": None,
                "goal_value": None,
                "pinned": False,
                "removed_at": None,
            }
        ],
        "next_cursor": None,
    }
    assert_problem(await api.http.get("/v1/trainings/nobody/models"), 404)
    assert_problem(await api.http.get(path, params={"cursor": "x"}), 422, "/query/cursor")


async def test_a_version_is_pinned_and_not_any_more(api: Api) -> None:
    training_id = await api.create_training()
    await api.http.put(f"/v1/trainings/{training_id}/model", content=MODEL)
    path = f"/v1/trainings/{training_id}/models"
    for method, pinned in (("PUT", True), ("PUT", True), ("DELETE", False), ("DELETE", False)):
        response = await api.http.request(method, f"{path}/0/pin")
        assert (response.status_code, response.content) == (204, b"")
        assert [item["pinned"] for item in (await api.http.get(path)).json()["items"]] == [pinned]
    async with api.system.db.read() as tx:
        told = [one.type for one in (await tx.events.after(0, training_id=training_id, limit=10)).items]
    assert told[-2:] == ["model.pinned", "model.unpinned"]  # each once
    for method in ("PUT", "DELETE"):
        assert_problem(await api.http.request(method, f"{path}/1/pin"), 404)
        assert_problem(await api.http.request(method, "/v1/trainings/nobody/models/0/pin"), 404)
        assert_problem(await api.http.request(method, f"{path}/-1/pin"), 422, "/path/number")


async def test_a_removed_version_is_listed_and_its_download_answers_410(tmp_path: Path, sqlite_url: str) -> None:
    async with running_api(tmp_path / "data", sqlite_url, models={"removal_delay_seconds": 0.0}) as api:
        training_id = await api.create_training(retention={"keep_last": 1, "keep_best": False})
        path = f"/v1/trainings/{training_id}/model"
        await api.http.put(path, content=MODEL)
        await add_versions(api, training_id, 0.5, 0.4, 0.3)
        await api.system.housekeeper.tick()
        items = (await api.http.get(f"{path}s")).json()["items"]
        assert [item["removed_at"] for item in items] == [None, None, NOW, None]
        for headers in ({}, {"If-None-Match": "*"}, {"Range": "bytes=0-1"}):
            problem = assert_problem(await api.http.get(f"{path}?round=1", headers=headers), 410)
            assert problem["type"] == "urn:tcsfeel:problem:removed"
            assert problem["detail"] == "the model of round 1 has been removed"
        assert_problem(await api.http.put(f"{path}s/1/pin"), 410)
        assert (await api.http.delete(f"{path}s/1/pin")).status_code == 204
        assert (await api.http.get(f"{path}?round=0")).content == MODEL


async def test_parameters_that_were_replaced_are_removed_unless_they_came_back(tmp_path: Path, sqlite_url: str) -> None:
    other = encode({"w": np.ones(2, np.float32)})
    async with running_api(tmp_path / "data", sqlite_url, models={"removal_delay_seconds": 0.0}) as api:
        path = f"/v1/trainings/{await api.create_training()}/model"
        for contents in ([MODEL, other], [MODEL], [MODEL, MODEL]):
            for content in contents:
                assert (await api.http.put(path, content=content)).status_code == 200
            await api.system.housekeeper.tick()
            names = {entry.name for entry in (tmp_path / "data" / "models").iterdir()}
            assert names == {hashlib.sha256(contents[-1]).hexdigest()}
            assert (await api.http.get(path)).content == contents[-1]
