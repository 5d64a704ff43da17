"""Measure how fast devices enrol with one invitation, and how soon every replica refuses a device that is shut out.

The bars are 1 000 devices in a minute, and 5 s. The devices share this machine with the server. Each makes its own key
pair and connects on its own, `--at-once` of them at the same time. A device whose key is revoked at one replica sends
heartbeats to all replicas until each refuses them.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx2

from app.demo.stage import HOST, free_port
from benchmarks.arena import Served, Stuck, databases, running, served, wait_for
from tcsfeel.identity import Identity, written
from tcsfeel.wire.enrolment import invitation_of, proof_text

BAR_SECONDS = 60.0
BAR_REVOCATION_SECONDS = 5.0
PROFILE = {"url": "http://10.0.0.7:9000", "data_size": 1, "compute_capacity": 1, "bandwidth": 1, "latency": 1}
BEAT_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Device:
    """A device that has enrolled."""

    client_id: str
    key_id: str
    key: str


def main(arguments: Sequence[str]) -> int:
    """Measure how fast devices enrol, and how soon one that is shut out is refused; status 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks enrolment", description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--at-once", type=int, default=16, metavar="N", help="devices that enrol at the same time")
    parser.add_argument("--revocations", type=int, default=5, metavar="N", help="devices that are shut out, in turn")
    parser.add_argument("--database", choices=["sqlite", "postgres", "all"], default="all")
    options = parser.parse_args(arguments)
    told, met = [], True
    with databases(options.database) as servers:
        for database, server_url in servers.items():
            with served(server_url=server_url) as found, ExitStack() as stack:
                urls = [found.plane.url]
                if server_url is not None:
                    urls.append(stack.enter_context(_replica(found)))
                seconds, devices = asyncio.run(_enrol(found, options.devices, options.at_once))
                slowest = max(asyncio.run(_shut_out(found, urls, device)) for device in devices[: options.revocations])
            met = met and seconds * 1000 <= BAR_SECONDS * options.devices and slowest <= BAR_REVOCATION_SECONDS
            replicas = "1 replica" if len(urls) == 1 else f"{len(urls)} replicas"
            told.append(
                f"{database}: {len(devices)} devices in {seconds:.1f} s, shut out by {replicas} in {slowest:.2f} s"
            )
    bars = f"bars 1000 in {BAR_SECONDS:.0f} s and {BAR_REVOCATION_SECONDS:.0f} s"
    print(f"enrolment: {'; '.join(told)} ({bars}): {'met' if met else 'missed'}")
    return 0 if met else 1


@contextmanager
def _replica(first: Served) -> Iterator[str]:
    """Run a second server on the same database."""
    port = free_port()
    command = ("tcsfeel.cli:main", "serve", "--host", HOST, "--port", str(port))
    url = f"http://{HOST}:{port}"
    with running("replica", *command, directory=first.directory, environment=first.environment) as child:

        def is_ready() -> bool:
            child.check()
            try:
                return httpx2.get(f"{url}/readyz").is_success
            except httpx2.TransportError:
                return False

        wait_for(is_ready)
        yield url


async def _enrol(found: Served, devices: int, at_once: int) -> tuple[float, list[Device]]:
    """Let devices enrol, and return the seconds that this takes."""
    invitation = found.plane.post("/v1/invitations", {"uses": devices, "id_pattern": "edge-*"})
    secret, gate = invitation["secret"], asyncio.Semaphore(at_once)

    async def enrolled(http: httpx2.AsyncClient, number: int) -> Device:
        async with gate:
            identity, client_id = Identity.make(), f"edge-{number}"
            text = proof_text(
                invitation_id=invitation_of(secret) or "", client_id=client_id, public_key=identity.public_key
            )
            body = {"client_id": client_id, "public_key": identity.public_key, "proof": written(identity.sign(text))}
            answer = await http.post("/v1/enrolments", json=body, headers={"Authorization": f"Bearer {secret}"})
            if answer.status_code != httpx2.codes.CREATED:
                raise Stuck(f"device {number} was answered {answer.status_code} {answer.text}")
            return Device(client_id, answer.json()["key_id"], answer.json()["key"])

    a_connection_each = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(
        base_url=found.plane.url, timeout=60, trust_env=False, limits=a_connection_each
    ) as http:
        began = time.monotonic()
        made = await asyncio.gather(*(enrolled(http, number) for number in range(devices)))
        seconds = time.monotonic() - began
    used = found.plane.get(f"/v1/invitations/{invitation['id']}")["used"]
    if used != devices:
        raise Stuck(f"the invitation was used {used} times by {devices} devices")
    return seconds, made


async def _shut_out(found: Served, urls: Sequence[str], device: Device) -> float:
    """Revoke a device's key at the first server. Returns after how many seconds the last server refuses it."""
    admin = {"Authorization": f"Bearer {found.key_file.read_text().strip()}"}
    where = f"/v1/clients/{device.client_id}"
    own = {"Authorization": f"Bearer {device.key}"}
    async with httpx2.AsyncClient(timeout=60, trust_env=False) as http:
        (await http.put(f"{urls[0]}{where}", json=PROFILE, headers=own)).raise_for_status()
        for url in urls:
            (await http.post(f"{url}{where}/heartbeat", headers=own)).raise_for_status()  # it knows the key now
        (await http.delete(f"{urls[0]}/v1/keys/{device.key_id}", headers=admin)).raise_for_status()
        began = time.monotonic()
        last = 0.0
        for url in urls:
            while (await http.post(f"{url}{where}/heartbeat", headers=own)).status_code != httpx2.codes.UNAUTHORIZED:
                last = time.monotonic() - began
                if last > 10 * BAR_REVOCATION_SECONDS:
                    raise Stuck(f"{url} accepts a key that was revoked {last:.0f} s ago")
                await asyncio.sleep(BEAT_SECONDS)
        return last
