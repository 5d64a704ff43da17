"""Agents enrol with an invitation, keep what they get, and use it at the next start."""

import json
import stat
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tcsfeel.agent import AgentError, EnrolmentRefused, has_enrolled, hosting
from tcsfeel.agent.enrolment import Enrolled, enrol, enrolled
from tcsfeel.agent.keyring import Keyring
from tcsfeel.agent.listening import listening
from tcsfeel.identity import Identity
from tests.tcsfeel.agent.enrolling import INVITE, SERVER, EnrollingPlane
from tests.tcsfeel.agent.fakes import AddingTrainer


async def no_sleep(_seconds: float) -> None:
    pass


async def enrol_at(plane: Any, directory: Path, *ids: str, invite: str = INVITE) -> dict[str, Any]:
    app = plane.app if isinstance(plane, EnrollingPlane) else plane
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://plane") as http:
        return dict(await enrol(ids, invite, Keyring(directory), http, sleep=no_sleep))


async def test_a_client_enrols_with_its_public_key_and_keeps_the_key_that_it_gets(tmp_path: Path) -> None:
    plane = EnrollingPlane()
    found = (await enrol_at(plane, tmp_path / "new", "edge-7"))["edge-7"]
    assert (found.client_id, found.key) == ("edge-7", "tcsfeel_agent_1_edge-7")
    assert (found.invitation_id, found.server_public_key) == ("0123456789abcdef", SERVER.public_key)
    assert "tcsfeel_agent" not in repr(found)
    kept = Keyring(tmp_path / "new")
    assert kept.find("edge-7") == found
    assert plane.enrolled["edge-7"]["public_key"] == kept.identity("edge-7").public_key
    for file in (tmp_path / "new").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["edge-7.enrolment.json", "edge-7.identity"]


async def test_a_client_that_has_a_valid_key_does_not_enrol_again(tmp_path: Path) -> None:
    plane = EnrollingPlane()
    first = await enrol_at(plane, tmp_path, "a", "b")
    plane.calls.clear()
    assert await enrol_at(plane, tmp_path, "a", "b") == first
    assert sorted(plane.calls) == [("GET", "/v1/clients/a"), ("GET", "/v1/clients/b")]


async def test_a_client_whose_key_is_not_valid_any_more_enrols_again_as_the_same_device(tmp_path: Path) -> None:
    plane = EnrollingPlane()
    first = await enrol_at(plane, tmp_path, "edge-7")
    public_key = plane.enrolled["edge-7"]["public_key"]
    plane.keys.clear()
    again = await enrol_at(plane, tmp_path, "edge-7")
    assert again["edge-7"].key != first["edge-7"].key
    assert plane.enrolled["edge-7"]["public_key"] == public_key
    assert Keyring(tmp_path).find("edge-7") == again["edge-7"]


async def test_a_control_plane_that_is_late_gets_the_same_request_again(tmp_path: Path) -> None:
    plane = EnrollingPlane(503, 500, 429)
    assert (await enrol_at(plane, tmp_path, "edge-7"))["edge-7"].key
    assert plane.calls == [("POST", "/v1/enrolments")] * 4


@pytest.mark.parametrize("status", [401, 409, 410, 422])
async def test_a_refusal_is_final_and_names_the_client(tmp_path: Path, status: int) -> None:
    with pytest.raises(EnrolmentRefused, match=f"refused to enrol client edge-7: {status} told to refuse") as refused:
        await enrol_at(EnrollingPlane(status), tmp_path, "edge-7")
    assert (refused.value.client_id, refused.value.status) == ("edge-7", status)
    assert refused.value.detail == "told to refuse"
    assert not has_enrolled("edge-7", tmp_path)


@pytest.mark.parametrize("invite", ["", "an-admin-key-for-tests", INVITE[:-1], INVITE + "0"])
async def test_another_text_is_no_invitation(tmp_path: Path, invite: str) -> None:
    with pytest.raises(AgentError, match="should be a text that begins with tcsfeel_invitation_") as refused:
        await enrol_at(EnrollingPlane(), tmp_path, "edge-7", invite=invite)
    assert not invite or invite not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        {"client_id": "edge-8", "key": "k" * 20, "server_public_key": SERVER.public_key},
        {"client_id": "edge-7", "key": "two words of text", "server_public_key": SERVER.public_key},
        {"client_id": "edge-7", "key": 7, "server_public_key": SERVER.public_key},
        {"client_id": "edge-7", "key": "k" * 20, "server_public_key": "short"},
        {"client_id": "edge-7", "key": "k" * 20, "server_public_key": None},
    ],
)
async def test_an_answer_without_a_key_is_an_error(tmp_path: Path, answer: Any) -> None:
    async def answering(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    with pytest.raises(AgentError, match="the enrolment of client edge-7 has no key"):
        await enrol_at(answering, tmp_path, "edge-7")
    assert not has_enrolled("edge-7", tmp_path)


async def test_the_key_of_an_earlier_start_is_used_without_an_invitation(tmp_path: Path) -> None:
    plane = EnrollingPlane()
    first = await enrol_at(plane, tmp_path, "edge-7")
    assert has_enrolled("edge-7", tmp_path)
    plane.calls.clear()
    own = await enrolled(["edge-7", "new"], server_url="http://nowhere", api_key=None, invite=None, state=tmp_path)
    assert own.credentials == first
    assert (own.key("edge-7"), own.key("new"), own.state) == (first["edge-7"].key, None, tmp_path)
    signing = own.signing("edge-7")
    assert signing is not None
    assert signing.identity.public_key == plane.enrolled["edge-7"]["public_key"]
    assert own.signing("new") is None
    assert plane.calls == []


async def test_a_key_that_is_given_is_the_one_that_counts(tmp_path: Path) -> None:
    await enrol_at(EnrollingPlane(), tmp_path, "edge-7")
    given = await enrolled(["edge-7"], server_url="http://plane", api_key="key", invite=INVITE, state=tmp_path)
    nowhere = await enrolled(["edge-7"], server_url=None, api_key=None, invite=INVITE, state=tmp_path)
    assert given == nowhere == Enrolled(tmp_path)


async def test_an_id_that_is_a_path_reaches_no_file(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="a client id must be"):
        await enrolled(["../x"], server_url="http://plane", api_key=None, invite=INVITE, state=tmp_path)
    with pytest.raises(AgentError, match="a client id must be"):
        has_enrolled("../x", tmp_path)


async def test_hosted_clients_enrol_each_and_register_with_their_own_keys(tmp_path: Path) -> None:
    plane = EnrollingPlane()
    trainers = {name: AddingTrainer() for name in ("a", "b", "c")}
    async with (
        listening(plane.app, "127.0.0.1", 0) as server,
        hosting(trainers, server_url=server, invite=INVITE, state=tmp_path) as running,
        httpx2.AsyncClient() as http,
    ):
        assert plane.registered.keys() == plane.enrolled.keys() == trainers.keys()
        assert {name: member.key for name, member in running.members.items()} == plane.keys
        assert len({body["public_key"] for body in plane.enrolled.values()}) == 3
        one = plane.registered["a"]
        unsigned = await http.get(f"{one['url']}/healthz", headers={"Authorization": f"Bearer {one['auth_token']}"})
        assert unsigned.status_code == 401
        assert "takes only calls that its control plane has signed" in unsigned.json()["detail"]


def test_the_directory_of_this_user_keeps_the_keys_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert not has_enrolled("edge-7")
    Keyring(tmp_path / "tcsfeel").identity("edge-7")
    assert isinstance(Keyring(tmp_path / "tcsfeel").identity("edge-7"), Identity)
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert not has_enrolled("edge-7")
