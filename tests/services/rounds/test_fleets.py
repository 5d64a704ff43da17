"""The clients at one moment, divided into those that selection may choose from and the others."""

from app.domain.carrying import Carried
from app.domain.eligibility import ANYWHERE
from app.domain.rounds import Participation
from app.services.fleet.roster import Roster
from app.services.rounds.fleets import divided_fleet
from tcsfeel.network.connectivity import Connectivity
from tests.store.samples import NOW, client


def test_a_client_that_carries_a_task_is_shut_out_with_the_reason() -> None:
    clients = [client(name) for name in "abc"]
    carried = [Carried(4, Participation(client_id="b", status="carried", begun_in=3))]
    links = Connectivity.empty()
    fleet = divided_fleet(Roster.of(clients, 0), {"c"}, ANYWHERE, frozenset(), NOW, links, {}, carried)
    assert [one.id for one in fleet.offered] == ["a"]
    assert {one.client_id: one.reason for one in fleet.shut_out} == {
        "b": "it still works on its task of round 3",
        "c": "it has a task in flight for another training",
    }
    assert fleet.carried == tuple(carried)
    assert [one.client_id for one in fleet.candidates({}, {})] == ["a"]
    assert fleet.joined is not None
    assert fleet.joined.tolist() == [one.created_at for one in clients]
