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
