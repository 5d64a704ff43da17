"""Register clients with all forms of addresses at a real server, and train with them; and make webhooks there."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx2
import numpy as np

from tcsfeel.wire.codec import MEDIA_TYPE, encode
from tests.e2e.servers import Server, call, serve
from tests.harnesses.databases import new_database
from tests.harnesses.ssrf import canaries, forms, resolver
from tests.harnesses.ssrf.resolver import ALLOWED, REBINDING

REBINDS = 6
REFUSALS = (
    "agents may not be at ",
    "agents may never be at ",
    "receivers of webhooks may not be at ",
    "receivers of webhooks may never be at ",
    "its URL cannot be called",
    "its host name cannot be resolved",
)
REDIRECTED = ("the agent answered 30", "the agent closed the connection")  # while the task was still being sent
RECEIVED = ("the receiver answered 30",)
EVENT = "training.created"  # of which there is one
SECONDS = 150.0  # for machines that are busy with something else
EVERYWHERE = "0.0.0.0"  # noqa: S104  (a server that listens beyond loopback is what this is about)


@dataclass
class Outcome:
    """What became of each form: how it was refused, by its URL, as the address of a client and as that of a webhook."""

    at_registration: dict[str, str] = field(default_factory=dict)
    at_call: dict[str, str] = field(default_factory=dict)
    at_creation: dict[str, str] = field(default_factory=dict)
    at_delivery: dict[str, str] = field(default_factory=dict)
    connections: dict[str, int] = field(default_factory=dict)
    redirected: int = 0

    def __str__(self) -> str:
        return (
            f"{self.forms} forms, {len(self.at_registration)} refused at registration; "
            f"{len(self.at_creation) + len(self.at_delivery)} of webhooks, {len(self.at_creation)} refused at once; "
            f"{sum(self.connections.values())} connections to canaries, {self.redirected} calls of an allowed address"
        )

    @property
    def forms(self) -> int:
        return len(self.at_registration) + len(self.at_call)

    def problems(self) -> list[str]:
        """Say what must not be."""
        found = [f"{count} connections arrived at {address}" for address, count in self.connections.items()]
        for reasons, called in ((self.at_call, REDIRECTED), (self.at_delivery, RECEIVED)):
            for url, reason in reasons.items():
                if not reason.startswith((*REFUSALS, *called) if is_allowed(url) else REFUSALS):
                    found.append(f"{url!r} ended with {reason!r}, which does not say that its address was refused")
        allowed = [reason for url, reason in self.at_delivery.items() if is_allowed(url)]
        if allowed and not any(reason.startswith(RECEIVED) for reason in allowed):
            found.append("the receiver that is allowed got no event, so this run shows nothing of webhooks")
        if any(is_allowed(url) for url in self.at_call) and not self.redirected:
            found.append("the agent that is allowed was not called, so this run shows nothing")
        return found


class NamingServer(Server):
    """A server whose names the harness resolves."""

    here: Sequence[str] = ()

    @property
    def program(self) -> Callable[[], None]:
        return partial(_serve, self.here, self.port)


def _serve(here: Sequence[str], port: int) -> None:
    resolver.install(here)
    serve(port)


def is_allowed(url: str) -> bool:
    """Tell whether a call of this URL may reach an agent, if the list of networks names `ALLOWED`."""
    return f"//{ALLOWED}:" in url or REBINDING in url


def urls(port: int, own: int, here: Sequence[str]) -> list[str]:
    """Return all URLs to try."""
    hosts = [*forms.LOOPBACK, *(form for address in here for form in forms.of_interface(address))]
    return [
        *(f"http://{host}:{port}" for host in hosts),
        *(form.format(port=port, allowed=ALLOWED) for form in forms.ODD_URLS),
        *never(port, own),
    ]


def never(port: int, own: int) -> list[str]:
    """Return the URLs that must be refused whatever is allowed."""
    return [*(f"http://{host}:{port}" for host in forms.METADATA), *(f"http://{host}:{own}" for host in forms.OWN)]


def rebinding(port: int) -> list[str]:
    """Return names whose address is allowed at first, and then is not; and an agent that redirects."""
    return [*(f"http://{REBINDING}-{number}.example:{port}" for number in range(REBINDS)), f"http://{ALLOWED}:{port}"]


async def attempt(
    directory: Path, database: str | None, *, allowed: Sequence[str], only_never: bool = False
) -> Outcome:
    """Start a server that allows these networks, and have it train with clients, and send events, at all addresses.

    It listens beyond loopback. With `only_never`, only the addresses are tried that nothing allows.
    """
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  (it is ours alone, and quick)
    here = canaries.interface_addresses()
    outcome = Outcome()
    networks = "[" + ", ".join(f'"{network}"' for network in allowed) + "]"
    async with (
        new_database(database, directory / "database") as url,
        canaries.listening(["127.0.0.1", "::1", *here]) as canary,
    ):
        plane = NamingServer(
            directory,
            url,
            TCSFEEL_AGENTS__ALLOWED_NETWORKS=networks,
            TCSFEEL_WEBHOOKS__ALLOWED_NETWORKS=networks,
            TCSFEEL_LIMITS__WEBHOOKS="1000",
            TCSFEEL_HOST=EVERYWHERE,
            TCSFEEL_HEALTH__INTERVAL_SECONDS="3600",  # the clients send no heartbeats, and count as healthy
            TCSFEEL_AUTH__REGISTER_BY_KEY="true",  # they have no identity of their own
        )
        plane.here = here
        await plane.start()
        try:
            async with plane.api() as api:
                tried = never(canary.port, plane.port) if only_never else urls(canary.port, plane.port, here)
                if f"{ALLOWED}/32" in allowed:
                    tried = [*tried, *rebinding(canary.port)]
                await register(api, tried, outcome)
                await listen(api, tried, outcome)
                await train(api, outcome)
                await sent(api, outcome)
        finally:
            plane.stop()
        outcome.connections = dict(canary.connections)
        outcome.redirected = canary.redirected
    return outcome


async def register(api: httpx2.AsyncClient, tried: Sequence[str], outcome: Outcome) -> None:
    for number, url in enumerate(tried):
        body = {"id": f"c-{number}", "url": url, "data_size": 10, "compute_capacity": 1, "bandwidth": 10, "latency": 1}
        answer = await api.post("/v1/clients", json=body)
        if answer.is_success:
            outcome.at_call[url] = "it was not called"
        else:
            assert answer.status_code == httpx2.codes.UNPROCESSABLE_CONTENT, f"{url}: {answer.text}"
            outcome.at_registration[url] = answer.json()["detail"]


async def listen(api: httpx2.AsyncClient, tried: Sequence[str], outcome: Outcome) -> None:
    for url in tried:
        answer = await api.post("/v1/webhooks", json={"url": url, "types": [EVENT]})
        if answer.is_success:
            outcome.at_delivery[url] = "no event was sent"
        else:
            assert answer.status_code == httpx2.codes.UNPROCESSABLE_CONTENT, f"{url}: {answer.text}"
            outcome.at_creation[url] = answer.json()["detail"]


async def sent(api: httpx2.AsyncClient, outcome: Outcome) -> None:
    """Wait until the event was sent to every webhook, or could not be, and note why not."""
    async with asyncio.timeout(SECONDS):
        while True:
            hooks = (await call(api, "GET", "/v1/webhooks", params={"limit": 1000}))["items"]
            if all(hook["problem"] or hook["delivered_at"] for hook in hooks):
                break
            await asyncio.sleep(0.5)
    for hook in hooks:
        outcome.at_delivery[hook["url"]] = hook["problem"] or "it took the event"


async def train(api: httpx2.AsyncClient, outcome: Outcome) -> None:
    """Run a round in which every client gets a task, and note why each of them could not be called."""
    number = len(outcome.at_call)
    body = {
        "name": "ssrf",
        "selection": {"strategy": "random", "min_clients": number, "max_clients": number},
        "round_policy": {"deadline_seconds": SECONDS, "max_wait_seconds": 0, "max_failed_rounds": 1},
    }
    training = (await call(api, "POST", "/v1/trainings", json=body))["id"]
    model = encode({"w": np.zeros(4, np.float32)})
    await call(api, "PUT", f"/v1/trainings/{training}/model", content=model, headers={"Content-Type": MEDIA_TYPE})
    path = f"/v1/trainings/{training}/rounds"
    ended = await call(api, "POST", path)
    async with asyncio.timeout(2 * SECONDS):  # its deadline, and a slow machine
        while ended["status"] not in {"abandoned", "completed"}:
            await asyncio.sleep(0.5)
            ended = await call(api, "GET", f"{path}/{ended['number']}")
    assert ended["status"] == "abandoned", "an update came from an address that must not be called"
    clients = (await call(api, "GET", "/v1/clients", params={"limit": 1000}))["items"]
    place = {client["id"]: client["url"] for client in clients}
    for part in ended["participations"]:
        # After three failures in a row, the breaker of the client opens, and the reason tells the last failure.
        reason = (part["reason"] or part["status"]).removeprefix("its breaker opened: fit: ")
        outcome.at_call[place[part["client_id"]]] = reason
