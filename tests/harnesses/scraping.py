"""See what a Prometheus sees that runs beside the servers of a harness."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from tests.deploy.rules import alerts

Until = Callable[[Callable[[], Awaitable[Any]], str], Awaitable[Any]]


async def watched(address: str, servers: int, until: Until) -> tuple[str, list[str]]:
    """Wait until Prometheus scrapes every server and has evaluated every alert; `until` looks again and again.

    Returns a sentence for the report, and the problems that it found.
    """
    async with httpx2.AsyncClient(base_url=f"http://{address}/api/v1", trust_env=False, timeout=30) as http:

        async def all_up() -> bool | None:
            found = (await http.get("/targets")).raise_for_status().json()["data"]["activeTargets"]
            return True if len(found) == servers and all(one["health"] == "up" for one in found) else None

        async def all_evaluated() -> list[dict[str, Any]] | None:
            groups = (await http.get("/rules")).raise_for_status().json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

        await until(all_up, "Prometheus scrapes every server")
        rules = await until(all_evaluated, "Prometheus has evaluated every alert")
    problems = [f"{rule['name']}: {rule['lastError']}" for rule in rules if rule["health"] != "ok"]
    if sorted(rule["name"] for rule in rules) != sorted(alert.name for alert in alerts()):
        problems.append(f"Prometheus has {len(rules)} alerts, and {len(alerts())} are in the file")
    firing = ", ".join(sorted(rule["name"] for rule in rules if rule["state"] == "firing")) or "none"
    return f"Prometheus scraped {servers} servers and evaluated {len(rules)} alerts ({firing} fires)", problems
