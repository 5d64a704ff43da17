"""Every example of the documented API runs as it stands."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from app.domain.invitations import Invitation
from app.domain.mailbox import MailedTask
from app.http.roles import ROLE
from app.store.selections import packed
from tcsfeel.contract.invitations import EXAMPLE_ID
from tcsfeel.selection.types import Plan, Selection
from tcsfeel.wire.codec import encode
from tcsfeel.wire.enrolment import invitation_secret
from tcsfeel.wire.tasks import Task
from tests.api import Api
from tests.http.documents import examples, operations

# Those that make what the others work with come first, and what removes it last.
ORDER = ["POST /v1/clients", "POST /v1/clients/batch", "POST /v1/trainings", "PUT /v1/connectivity"]
LAST = [
    "POST /v1/trainings/{training_id}/cancel",
    "DELETE /v1/invitations/{invitation_id}",
    "DELETE /v1/clients/{client_id}",
]


async def test_every_example_runs_as_it_stands(api: Api, document: dict[str, Any]) -> None:
    api.system.feed.stop()  # or a stream of events would not end
    found = operations(document)
    middle = [place for place in found if place not in ORDER + LAST]
    secret = await an_invitation(api)
    made = {}  # only the ids of trainings and keys are made by the server
    for place in [*ORDER, *middle, *LAST]:
        method, path = place.split()
        if path.startswith("/v1/trainings/{training_id}"):
            made["training_id"] = await a_training(api, place)
        if path.startswith("/v1/webhooks/{webhook_id}"):
            made["webhook_id"] = (await api.http.post("/v1/webhooks", json={"url": "http://a"})).json()["id"]
        if path.startswith("/v1/keys/{key_id}"):
            made["key_id"] = (await api.http.post("/v1/keys", json={"name": "x", "role": "viewer"})).json()["id"]
        headers = {"Authorization": f"Bearer {secret}"} if place == "POST /v1/enrolments" else {}
        if found[place].get(ROLE) == "agent":
            body = {"name": f"device that calls {method}", "role": "agent", "client_id": "edge-7"}
            key = (await api.http.post("/v1/keys", json=body)).json()["key"]
            headers = {"Authorization": f"Bearer {key}"}
        for media_type, content in bodies(document, found[place]):
            if found[place].get(ROLE) == "agent":
                await a_task(api)
            response = await api.http.request(
                method,
                filled(found[place], path, made),
                params=given(found[place], "query"),
                headers={name: str(value) for name, value in given(found[place], "header").items()}
                | ({"Content-Type": media_type} if content else {})
                | headers,
                content=content,
            )
            assert response.is_success, f"{place}: {response.status_code} {response.text}"
            assert str(response.status_code) in found[place]["responses"]


TASK = Task(
    id="3f0c2a9d5b7e4c11.1.edge-7.fit", kind="fit", training_id="3f0c2a9d5b7e4c11", round=1, deadline_seconds=60.0
)
MODEL = encode({"w": np.zeros(3, np.float32)})


def bodies(document: dict[str, Any], operation: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Every documented body; a file is described, not shown."""
    content = operation.get("requestBody", {}).get("content", {"": None})
    if "application/json" in content:
        return [("application/json", json.dumps(example).encode()) for example in examples(document, operation)]
    return [(media_type, MODEL if media_type else b"") for media_type in content]


async def an_invitation(api: Api) -> str:
    """The secret of the invitation that examples name."""
    secret = invitation_secret(EXAMPLE_ID, "ab" * 32)
    hashed, now = api.system.secret.keyed_hash(secret), api.clock.now()
    async with api.system.db.begin() as tx:
        await tx.invitations.add(
            Invitation(
                id=EXAMPLE_ID, secret_hash=hashed, uses=1, created_at=now, expires_at=now + 60, id_pattern="edge-*"
            )
        )
    return secret


async def a_task(api: Api) -> None:
    """Offer the task that examples name, as one that its agent has taken."""
    task = MailedTask(
        id="3f0c2a9d5b7e4c11.1.edge-7.fit",
        client_id="edge-7",
        training_id="3f0c2a9d5b7e4c11",
        round=1,
        kind="fit",
        document=TASK.to_json(),
        most_bytes=10_000,
        offered_at=api.clock.now(),
        deadline_at=api.clock.now() + 1e9,
    )
    async with api.system.db.begin() as tx:
        await tx.mailbox.cancel([task.id])
        offered = await tx.mailbox.offer(task)
        digest = "0" * 64
        await tx.mailbox.take(offered, api.clock.now(), size=0, call=None, seconds=1.0, digest=digest)


async def a_training(api: Api, place: str) -> str:
    """A training in the state that an operation needs."""
    training_id = await api.create_training()
    path = f"/v1/trainings/{training_id}"
    if place.endswith("/pause"):
        await api.http.post(f"{path}/start")
    elif place.endswith("/extend"):
        async with api.system.db.begin() as tx:
            await tx.trainings.put(replace(await tx.trainings.get(training_id), status="completed"))
    elif place.endswith("/rounds/{number}"):
        await api.http.post(f"{path}/rounds")
    elif place.endswith("/selection"):
        await api.http.post(f"{path}/rounds")
        selection = Selection("tcs-feel", (), (), 0.0, None, 1.0, 0.0, Plan("star", {}))
        async with api.system.db.begin() as tx:
            await tx.selections.add(training_id, 1, packed(selection))
    elif place.endswith("/pin") or (place.startswith("GET") and place.endswith("/model")):
        await api.http.put(f"{path}/model", content=MODEL)
    return training_id


def filled(operation: dict[str, Any], path: str, made: Mapping[str, str]) -> str:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            name = parameter["name"]
            assert name in made or "examples" in parameter["schema"], f"{path}: no example of {name}"
            example = made[name] if name in made else parameter["schema"]["examples"][0]
            path = path.replace(f"{{{name}}}", str(example))
    return path


def given(operation: dict[str, Any], place: str) -> dict[str, Any]:
    """The examples of the parameters in a place."""
    found = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == place]
    return {p["name"]: p["schema"]["examples"][0] for p in found if "examples" in p["schema"]}
