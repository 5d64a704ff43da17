"""Pages of long items end early, and leave others their turn."""

from dataclasses import replace
from typing import Any

from tests.api import Api
from tests.lag import turns
from tests.store.samples import client

LABELS = [number + 0.123456789 for number in range(10_000)]


async def fleet(api: Api, size: int) -> list[str]:
    """Register clients that report as many labels as they may, without the time that it takes to send them."""
    wide = replace(client().profile, data_distribution=LABELS)
    names = [f"edge-{number:03}" for number in range(size)]
    async with api.system.db.begin() as tx:
        await tx.clients.add([client(name, profile=wide) for name in names])
    return names


async def test_a_page_of_long_items_ends_before_its_limit_and_others_have_their_turn(sqlite_api: Api) -> None:
    names = await fleet(sqlite_api, 100)
    found: list[str] = []
    query: dict[str, Any] = {"limit": 1000}
    sizes = []
    while True:
        async with turns() as counted:
            answer = await sqlite_api.http.get("/v1/clients", params=query)
        page = answer.json()
        sizes.append(len(page["items"]))
        assert counted.number > len(page["items"])
        assert len(answer.content) < 10_000_000
        found += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == names
    assert len(sizes) > 1
