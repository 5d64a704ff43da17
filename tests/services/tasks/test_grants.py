"""What a relay is told of its children."""

from dataclasses import replace
from typing import Any

import numpy as np

from app.domain.clients import Client
from app.services.tasks.grants import Grants
from app.services.tasks.signer import Signer
from tcsfeel.identity import Identity
from tcsfeel.wire.codec import pack
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.grants import read_grant
from tcsfeel.wire.relays import Subtree
from tcsfeel.wire.tasks import Task, task_metadata
from tests.clocks import FakeClock
from tests.services.fakes import SERVER_SEED, TOKENS, profile
from tests.store.samples import NOW

DEVICE = Identity(b"d" * 32)
MODEL = pack({"w": np.ones(3, np.float32)})
TASK = Task(id="t.3.r.fit", kind="fit", training_id="t", round=3, deadline_seconds=60.0)


def client(client_id: str, token: str | None = None, **fields: Any) -> Client:
    sealed = TOKENS.seal(profile(f"http://{client_id}", auth_token=token))
    return Client(id=client_id, profile=sealed, created_at=NOW, updated_at=NOW, **fields)


def subtree(*children: Client) -> Subtree:
    grants = Grants(TOKENS, Signer([SERVER_SEED], FakeClock()))
    return grants.subtree(TASK, "r", {one.id: one for one in children}, MODEL, seconds=30.0, now=1000.5)


def test_each_child_gets_a_grant_that_its_agent_can_check_for_just_the_body_that_it_will_get() -> None:
    found = subtree(client("a", token="s3cret"), client("k", token="s3cret", public_key=DEVICE.public_key), client("o"))
    assert found.client_id == "r"
    a, k, o = found.children
    assert (a.task_id, a.url, a.deadline_seconds, a.data_size) == ("t.3.a.fit", "http://a", 30.0, 10)
    assert (a.public_key, k.public_key) == ("", DEVICE.public_key)
    for child in found.children:
        grant = read_grant(child.grant)
        assert grant is not None
        body = MODEL.payload(task_metadata(child.task(TASK)))
        assert (grant.digest, grant.expires) == (digest_of(body).hex(), 1031)
        assert grant.is_by_token("s3cret", child.task_id) == (child is a)
        assert grant.is_by_key(Identity(SERVER_SEED).public_key, child.task_id) == (child is k)
    assert "s3cret" not in found.to_json()
    assert o.grant.endswith(".")


def test_a_child_is_told_its_own_epochs_and_its_grant_is_for_them() -> None:
    grants, children = Grants(TOKENS, Signer([SERVER_SEED], FakeClock())), {"a": client("a"), "b": client("b")}
    found = grants.subtree(TASK, "r", children, MODEL, seconds=30.0, now=1000.5, epochs={"a": 3})
    a, b = found.children
    assert (a.local_epochs, b.local_epochs) == (3, 0)
    grant = read_grant(a.grant)
    assert grant is not None
    task = replace(TASK, id="t.3.a.fit", deadline_seconds=30.0, hyperparameters={"local_epochs": 3})
    assert grant.digest == digest_of(MODEL.payload(task_metadata(task))).hex()


def test_a_child_whose_token_no_secret_opens_is_left_out() -> None:
    locked = client("a")
    locked = replace(locked, profile=replace(locked.profile, auth_token="encrypted:nonsense"))
    assert [child.client_id for child in subtree(locked, client("b")).children] == ["b"]
