"""The clients that are read to be probed, on both databases."""

import itertools
from dataclasses import replace
from typing import Any

from app.domain.identity import Conflict, Identity, Proof
from app.domain.liveness import needs_probe
from app.store.database import Database
from tests.store.samples import NOW, client

CONFLICT = Conflict(since=NOW - 5, last_at=NOW, urls=("http://edge-7", "http://other"), instances=("7c0d",))


async def test_exactly_those_are_read_to_be_probed_that_need_it(db: Database) -> None:
    now, interval, key = NOW + 100.0, 30.0, "K" * 43
    url = client("x").profile.url or ""
    proved = Identity(proof=Proof(url=url, public_key=key, at=NOW))
    signs = [None, NOW - 1000, now - interval - 1e-3, now - interval, now, now + interval, now + 2 * interval]
    owned: list[dict[str, Any]] = [
        {},
        {"public_key": key},
        {"public_key": key, "identity": proved},
        {"public_key": "L" * 43, "identity": proved},
        {"public_key": key, "identity": replace(proved, proof=Proof(url="http://moved", public_key=key, at=NOW))},
        {"public_key": key, "identity": replace(proved, proof=None, conflict=CONFLICT)},
        {"public_key": key, "profile": replace(client("x").profile, url=None)},
    ]
    some = [
        client(
            f"{number}", **{"profile": client("x").profile} | fields, last_seen_at=sign, created_at=began, status=status
        )
        for number, (fields, sign, began, status) in enumerate(
            itertools.product(owned, signs, [NOW, now - 1], ["healthy", "suspect", "down"])
        )
    ]
    async with db.begin() as tx:
        await tx.clients.add(some)
    async with db.read() as tx:
        found = await tx.clients.to_probe(now, interval, limit=1000, after=None)
        first = await tx.clients.to_probe(now, interval, limit=7, after=None)
        rest = await tx.clients.to_probe(now, interval, limit=1000, after=first.items[-1].id)
    expected = sorted(one.id for one in some if needs_probe(one, now, interval))
    assert [one.id for one in found.items] == expected
    assert [one.id for one in first.items + rest.items] == expected
    assert len(expected) < len(some), "some need none"
