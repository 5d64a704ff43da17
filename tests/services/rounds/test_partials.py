"""What a relay may answer, and what makes the server reject it."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.domain.clients import Client
from app.services.rounds.partials import Mean, MemberGone, checked_mean, partial_size
from app.store.model_store import ModelStore
from tcsfeel.errors import UpdateRejected
from tcsfeel.identity import Identity
from tcsfeel.selection.types import Plan
from tcsfeel.wire.codec import encode, pack
from tcsfeel.wire.digests import written_digest
from tcsfeel.wire.relays import Member, Missing, Partial, partial_metadata
from tcsfeel.wire.signatures import SIGNATURE, SIGNATURE_INPUT, result_components, sign_answer
from tcsfeel.wire.sizes import fit_size
from tcsfeel.wire.tasks import TaskResult, result_metadata
from tests.services.fakes import profile
from tests.services.rounds.phases import MODEL, phase
from tests.store.samples import NOW, a_round

KEY = Identity(b"k" * 32)
DIGEST = "ab" * 32


def client(client_id: str, key: str | None = None) -> Client:
    return Client(id=client_id, profile=profile(), created_at=NOW, updated_at=NOW, public_key=key)


def member(client_id: str, num_examples: int = 10, **fields: Any) -> Member:
    return Member(client_id=client_id, result=TaskResult(num_examples=num_examples, loss=1.0), **fields)


def signed(task: str, *, by: Identity = KEY, digest: str = DIGEST) -> Member:
    components = result_components(f"/tasks/{task}", written_digest(bytes.fromhex(DIGEST)))
    _, headers = sign_answer(by, components, now=NOW)
    return member("k", digest=digest, signature_input=headers[SIGNATURE_INPUT], signature=headers[SIGNATURE])


def check(
    directory: Path,
    members: list[Member] | None,
    tensors: dict[str, npt.NDArray[Any]] | None = None,
    *,
    planned: Sequence[str] = ("a", "k"),
    model: dict[str, npt.NDArray[Any]] | None = None,
) -> Mean | None:
    """Check the answer of the relay r, below which are a, and k whose device has a key."""
    plan = Plan("relay", {"r": None, **dict.fromkeys(planned, "r")})
    this = phase(
        ModelStore(directory), round_=a_round("t", 3, plan=plan), model=MODEL if model is None else pack(model)
    )
    said = dict(result_metadata(TaskResult(num_examples=10, loss=1.0)))
    if members is not None:
        said |= partial_metadata(Partial(members=tuple(members), missing=(Missing(client_id="b", reason="gone"),)))
    body = encode({"w": np.ones(3, np.float32)} if tensors is None else tensors, said)
    file = this.place("r").write([body])
    children = {"a": client("a"), "k": client("k", KEY.public_key)}
    return checked_mean(this, client("r"), children, file)


RIGHT = signed("t.3.k.fit")


def test_a_mean_is_taken_with_the_signatures_of_its_members(tmp_path: Path) -> None:
    found = check(tmp_path, [member("r"), member("a"), RIGHT])
    assert found is not None
    assert found.norm == pytest.approx(3**0.5)
    assert found.partial.num_examples == 30
    assert found.evidence.keys() == {"k"}
    assert found.evidence["k"].call == ""
    assert DIGEST not in found.evidence["k"].answer  # base64 there
    assert '"@path": /tasks/t.3.k.fit' in found.evidence["k"].answer


def test_a_relay_measures_links_to_its_own_children_by_updates_that_are_large_enough(tmp_path: Path) -> None:
    wide = {"w": np.ones(250_000, np.float32)}  # 1 MB
    slow = [member("r", seconds=9.0), member("a", seconds=0.5)]
    found = check(tmp_path, slow, wide, model=wide)
    assert found is not None
    assert found.links == {"a": 0.5}
    small = check(tmp_path, slow)
    assert small is not None
    assert small.links == {}


def test_an_update_alone_is_no_mean(tmp_path: Path) -> None:
    assert check(tmp_path, None) is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([member("r"), member("z")], "its mean has an update of 'z', which is not below it"),
        ([member("r"), member("a"), member("a")], "its mean has the update of 'a' twice"),
        ([member("a")], "its mean does not have its own update"),
        ([], "its mean does not have its own update"),
        ([member("r"), member("a", 16)], "the update of 'a' in its mean: num_examples is not plausible: 16"),
        ([member("r", 16)], "the update of 'r' in its mean: num_examples is not plausible: 16"),
        ([member("r"), member("k")], "the update of 'k' in its mean: it has no digest"),
        ([member("r"), member("k", digest=DIGEST)], "the update of 'k' in its mean: it is not signed"),
        ([member("r"), member("k", digest="z" * 64)], "the update of 'k' in its mean: "),
        ([member("r"), signed("t.3.a.fit")], "its signature does not fit"),
        ([member("r"), signed("t.2.k.fit")], "its signature does not fit"),
        ([member("r"), signed("t.3.k.fit", by=Identity(b"x" * 32))], "it is signed with the key"),
        ([member("r"), signed("t.3.k.fit", digest="cd" * 32)], "its signature does not fit"),
    ],
)
def test_a_mean_with_wrong_members_is_rejected(members: list[Member], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UpdateRejected) as raised:
        check(tmp_path, members)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"w": np.full(3, np.nan, np.float32)}, "tensor 'w' holds values that are not finite"),
        ({"w": np.ones(4, np.float32)}, "tensor 'w' is float32[4], the model's is float32[3]"),
        ({"w": np.ones(3, np.float64)}, "tensor 'w' is float64[3], the model's is float32[3]"),
        ({"v": np.ones(3, np.float32)}, "its tensors are not the model's"),
        ({"w": np.full(3, 1e20, np.float32)}, "its mean is too far from the model: by 1.73e+20"),
    ],
)
def test_a_mean_with_wrong_tensors_is_rejected(
    tensors: dict[str, npt.NDArray[Any]], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UpdateRejected) as raised:
        check(tmp_path, [member("r"), member("a")], tensors)
    assert reason in str(raised.value)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"members": 7}', '{"members": [{"client_id": "a"}]}'])
def test_what_a_relay_says_has_to_be_in_form(text: str, tmp_path: Path) -> None:
    this = phase(ModelStore(tmp_path))
    said = {**result_metadata(TaskResult(num_examples=10, loss=1.0)), "partial": text}
    file = this.place("r").write([encode({"w": np.ones(3, np.float32)}, said)])
    with pytest.raises(UpdateRejected, match="partial"):
        checked_mean(this, client("r"), {}, file)


def test_a_mean_with_a_member_that_has_ended_meanwhile_is_no_fault_of_its_relay(tmp_path: Path) -> None:
    """Client g hung below the relay when the round was planned, and was removed since."""
    with pytest.raises(MemberGone, match="its mean has the update of 'g', which does not take part any more"):
        check(tmp_path, [member("r"), member("g")], planned=("a", "k", "g"))


HALF: dict[str, npt.NDArray[Any]] = {
    "w": np.zeros(3, np.float16),
    "count": np.zeros(1, np.int8),
    "seen": np.zeros(1, np.bool_),
}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"w": np.array([0, 0, 65504], np.float32)}, None),
        ({"count": np.array([-128.0])}, None),
        ({"w": np.array([0, 0, -70000], np.float32)}, "tensor 'w' holds values that float16 cannot have: -70000"),
        ({"count": np.array([1e300])}, "tensor 'count' holds values that int8 cannot have: 1e+300"),
        ({"count": np.array([-130.0])}, "tensor 'count' holds values that int8 cannot have: -130"),
        ({"seen": np.array([2.0])}, "tensor 'seen' holds values that bool cannot have: 2"),
    ],
)
def test_no_mean_has_values_that_no_update_can_have(
    changed: dict[str, npt.NDArray[Any]], reason: str | None, tmp_path: Path
) -> None:
    mean: dict[str, npt.NDArray[Any]] = {
        "w": np.ones(3, np.float32),
        "count": np.zeros(1),
        "seen": np.zeros(1),
        **changed,
    }
    if reason is None:
        assert check(tmp_path, [member("r")], mean, model=HALF) is not None
        return
    with pytest.raises(UpdateRejected, match=re.escape(reason)):
        check(tmp_path, [member("r")], mean, model=HALF)


def test_the_answer_of_a_relay_may_have_wider_values_and_names_its_members() -> None:
    model = pack({"w": np.zeros(100, np.int8)})
    plain, wide = fit_size(model), partial_size(model, 3)
    assert wide.header_bytes == plain.header_bytes + 3 * 8192
    assert wide.file_bytes == 8 + wide.header_bytes + 800
