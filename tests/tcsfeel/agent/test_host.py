"""Many agents in one process: apart from each other, on few threads."""

import asyncio

import httpx2
import pytest

from tcsfeel.agent import AgentError, AgentHost
from tests.tcsfeel.agent.fakes import AddingTrainer, GatedTrainer, eventually, make_task, task_body

BODY = task_body(make_task())
TASK = "tasks/t.1.c.fit"


def client(host: AgentHost) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(host), base_url="http://host")


async def test_each_agent_has_its_own_tasks_and_its_own_token() -> None:
    host = AgentHost()
    one = host.add("one", AddingTrainer(), token="secret-1")
    two = host.add("two", AddingTrainer(), token="secret-2")
    async with client(host) as http:
        first = {"Authorization": "Bearer secret-1"}
        assert (await http.put(f"/agents/one/{TASK}", content=BODY, headers=first)).status_code in {200, 202}
        assert (await http.put(f"/agents/two/{TASK}", content=BODY, headers=first)).status_code == 401
        assert (await http.get(f"/agents/one/{TASK}?wait=60", headers=first)).status_code == 200

    assert one.table.trained == {"t.1.c.fit": 1}
    assert not two.table.trained
    assert host.agents == {"one": one, "two": two}


@pytest.mark.parametrize(
    "path",
    ["/", "/agents", "/agents/", "/agents/one", "/agents/three/healthz", "/one/healthz", "/x/agents/one/healthz"],
)
async def test_where_no_agent_lives_there_is_nothing(path: str) -> None:
    host = AgentHost()
    host.add("one", AddingTrainer())
    async with client(host) as http:
        answer = await http.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_process_itself_is_healthy() -> None:
    async with client(AgentHost()) as http:
        assert (await http.get("/healthz")).status_code == 200


async def test_all_agents_share_a_bounded_number_of_threads() -> None:
    host = AgentHost(threads=2)
    trainers = {f"c{number}": GatedTrainer() for number in range(10)}
    for client_id, trainer in trainers.items():
        host.add(client_id, trainer)
    async with client(host) as http:
        for client_id in trainers:
            await http.put(f"/agents/{client_id}/{TASK}", content=BODY)
        await eventually(lambda: sum(trainer.started.is_set() for trainer in trainers.values()) == 2)
        await asyncio.sleep(0.01)
        assert sum(trainer.started.is_set() for trainer in trainers.values()) == 2

        for trainer in trainers.values():
            trainer.gate.set()
        answers = await asyncio.gather(*(http.get(f"/agents/{name}/{TASK}?wait=60") for name in trainers))
    assert [answer.status_code for answer in answers] == [200] * 10


async def test_an_agent_that_is_removed_or_replaced_is_gone() -> None:
    host = AgentHost()
    old = host.add("one", AddingTrainer())
    new = host.add("one", AddingTrainer())
    assert host.agents["one"] is new is not old

    host.remove("one")
    host.remove("one")
    async with client(host) as http:
        assert (await http.get("/agents/one/healthz")).status_code == 404


@pytest.mark.parametrize("client_id", ["", ".", "..", "a/b", "a b", "ä", "x" * 65, "a\n"])
def test_an_id_that_no_client_can_have_is_refused(client_id: str) -> None:
    with pytest.raises(AgentError, match="client id"):
        AgentHost().add(client_id, AddingTrainer())
