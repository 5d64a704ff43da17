"""Groups of tensors in the REST API."""

import numpy as np

from tcsfeel.wire.codec import encode
from tests.api import Api, assert_problem


async def test_averaged_tensors_have_an_older_name(api: Api) -> None:
    for given in ({"statistics": ["*.ema"]}, {"parameters": {"averaged": ["*.ema"]}}):
        made = (await api.http.post("/v1/trainings", json={"name": "x"} | given)).json()
        for training in (made, (await api.http.get(f"/v1/trainings/{made['id']}")).json()):
            assert training["statistics"] == training["parameters"]["averaged"] == ["*.ema"]


async def test_groups_of_tensors_cannot_change_once_there_is_a_model(sqlite_api: Api) -> None:
    made = await sqlite_api.http.post("/v1/trainings", json={"name": "x", "parameters": {"averaged": ["*.ema"]}})
    path = f"/v1/trainings/{made.json()['id']}"
    await sqlite_api.http.put(f"{path}/model", content=encode({"w": np.ones(2, np.float32)}))
    for patch in ({"parameters": {"local": ["bn*"]}}, {"parameters": {"averaged": None}}):
        problem = assert_problem(await sqlite_api.http.patch(path, json=patch), 422, "/parameters")
        assert "create another training" in str(problem)
    assert (await sqlite_api.http.patch(path, json={"name": "x"})).status_code == 200


async def test_a_training_shows_the_patterns_that_match_no_tensor_of_its_first_model(api: Api) -> None:
    groups = {"averaged": ["*.emma"], "local": ["bm*"], "frozen": ["b", "pos*"]}
    path = (
        f"/v1/trainings/{(await api.http.post('/v1/trainings', json={'name': 'x', 'parameters': groups})).json()['id']}"
    )
    assert (await api.http.get(path)).json()["unmatched_patterns"] is None, "there is no model yet"
    for names, wanted in (
        ("wb", {"averaged": ["*.emma"], "local": ["bm*"], "frozen": ["pos*"]}),
        (("w", "b", "bm1", "pos1", "w.emma"), None),
    ):
        await api.http.put(f"{path}/model", content=encode({name: np.ones(2, np.float32) for name in names}))
        assert (await api.http.get(path)).json()["unmatched_patterns"] == wanted
