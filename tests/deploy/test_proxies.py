"""Everything works through nginx and through HAProxy, with TLS, a path prefix, and timeouts of 30 s."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urljoin

import grpc
import httpx2
import numpy as np
import pytest

from app.routers.events import ALIVE_SECONDS
from examples import minimal_trainer
from tcsfeel.agent import hosting
from tcsfeel.certificates import trusted
from tcsfeel.client import AsyncClient
from tcsfeel.rest.calls import HOLD_SECONDS
from tests.authorities import Authority
from tests.deploy.validators import ROOT, ran
from tests.e2e.servers import PATIENCE, Server, call, free_port, unhandled
from tests.rpc import callers

PROXIES = ROOT / "deploy" / "proxies"
PREFIX = "/federation"
KINDS = pytest.mark.parametrize("kind", ["nginx", "haproxy"])
REFERRED = re.compile(r'(?:src|href)="([^"#]+\.\w+)"')
IMPORTED = re.compile(r'from "([^"]+)"')
TIMEOUTS = {
    "nginx.conf": r"(?:client_body_timeout|send_timeout|(?:proxy|grpc)_(?:read|send)_timeout) (\w+);",
    "haproxy.cfg": r"timeout (?:client|server) (\w+)",
}


@dataclass(frozen=True)
class Proxied:
    """A server, and the addresses of the proxy before it."""

    server: Server
    url: str
    grpc: str
    ca_file: Path

    def api(self) -> httpx2.AsyncClient:
        headers = {"Authorization": f"Bearer {self.server.key}"}
        return httpx2.AsyncClient(
            base_url=self.url, headers=headers, verify=trusted(self.ca_file), timeout=PATIENCE, trust_env=False
        )


class Ports(NamedTuple):
    """Where the proxy and the server listen for REST and for gRPC."""

    proxy: int
    proxy_grpc: int
    server: int
    server_grpc: int

    @classmethod
    def free(cls) -> Self:
        return cls(*(free_port() for _ in cls._fields))


def commands(kind: str, directory: Path, ports: Ports, authority: Authority) -> tuple[list[str], list[str]]:
    """Write the proxy's configuration for this machine. Returns how to check it, and how to run it."""
    program = shutil.which(kind)
    if program is None:
        pytest.skip(f"there is no {kind} on this machine")
    pair = authority.certify("127.0.0.1")
    (directory / "proxy.crt").write_bytes(pair.certificate.read_bytes())
    (directory / "proxy.key").write_bytes(pair.key.read_bytes())
    (directory / "proxy.pem").write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    name = "nginx.conf" if kind == "nginx" else "haproxy.cfg"
    text = (PROXIES / name).read_text().replace("/certificates/", f"{directory}/")
    text = re.sub(r"server-[123]:8080", f"127.0.0.1:{ports.server}", text)
    text = re.sub(r"server-[123]:50051", f"127.0.0.1:{ports.server_grpc}", text)
    for was, port in ((8443, ports.proxy), (50051, ports.proxy_grpc)):
        text = re.sub(rf"(listen |bind ):?{was}\b", rf"\g<1>127.0.0.1:{port}", text)
    text = text.replace("/run/nginx.pid", f"{directory}/nginx.pid")
    places = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    text = text.replace("\nhttp {", "\nhttp {" + "".join(f"\n{one}_temp_path {directory}/{one};" for one in places))
    file = directory / name
    file.write_text(text)
    if kind == "nginx":
        return [program, "-t", "-q", "-c", str(file)], [program, "-c", str(file), "-g", "daemon off;"]
    return [program, "-c", "-q", "-f", str(file)], [program, "-db", "-f", str(file)]


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)  # noqa: S603  (ours)
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait(PATIENCE)


@asynccontextmanager
async def proxied(kind: str, directory: Path, database_url: str) -> AsyncIterator[Proxied]:
    authority = Authority(directory)
    ports = Ports.free()
    server = Server(directory, database_url, TCSFEEL_PATH_PREFIX=PREFIX, TCSFEEL_GRPC__PORT=str(ports.server_grpc))
    ports = ports._replace(server=server.port)
    check, run = commands(kind, directory, ports, authority)
    checked = ran(*check)
    assert checked.returncode == 0, checked.stdout
    await server.start()
    try:
        with running(run, directory / "proxy.log"):
            found = Proxied(
                server, f"https://127.0.0.1:{ports.proxy}{PREFIX}", f"127.0.0.1:{ports.proxy_grpc}", authority.ca
            )
            async with found.api() as api:
                until = time.monotonic() + PATIENCE
                while True:
                    try:
                        if (await api.get("/readyz")).is_success:
                            break
                    except httpx2.TransportError:
                        assert time.monotonic() < until
                    await asyncio.sleep(0.1)
            yield found
    finally:
        server.kill()
    assert unhandled(server.log) == []


def test_what_waits_is_answered_before_a_proxy_gives_up() -> None:
    for name, pattern in TIMEOUTS.items():
        assert set(re.findall(pattern, (PROXIES / name).read_text())) == {"30s"}
    assert HOLD_SECONDS <= 20
    assert ALIVE_SECONDS <= 5


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("nginx", "30s", "30 parsecs"),
        ("nginx", "grpc_pass grpc://", "grpc_pass h2c://"),
        ("haproxy", "30s", "30 parsecs"),
        ("haproxy", "proto h2", "proto grpc"),
    ],
)
def test_a_wrong_configuration_is_refused(kind: str, right: str, wrong: str, tmp_path: Path) -> None:
    check, _ = commands(kind, tmp_path, Ports.free(), Authority(tmp_path))
    assert ran(*check).returncode == 0
    file = Path(check[-1])
    assert right in file.read_text()
    file.write_text(file.read_text().replace(right, wrong))
    assert ran(*check).returncode != 0


@KINDS
async def test_devices_train_and_readers_follow_through_a_proxy(kind: str, tmp_path: Path, sqlite_url: str) -> None:
    async with proxied(kind, tmp_path, sqlite_url) as plane, plane.api() as api:
        made = await call(api, "POST", "/v1/invitations", json={"uses": 3})
        trainers = {f"edge-{seed}": minimal_trainer.trainer(seed=seed) for seed in range(3)}
        common = {"server_url": plane.url, "invite": made["secret"], "ca_file": plane.ca_file}
        pushed = {"edge-2": trainers.pop("edge-2")}
        events: list[str] = []
        reading = asyncio.create_task(follow(api, events))
        async with (
            hosting(trainers, **common, state=tmp_path / "pull", pull=True),
            hosting(pushed, **common, state=tmp_path / "push", pull=False),
        ):
            body = {"name": "digits", "selection": {"min_clients": 3, "max_clients": 3}, "max_rounds": 2}
            created = await api.post("/v1/trainings", json=body)
            assert created.headers["Location"] == f"{PREFIX}/v1/trainings/{created.json()['id']}"
            path = f"/v1/trainings/{created.json()['id']}"
            assert (await call(api, "GET", f"{path}"))["name"] == "digits"
            first = await call(api, "POST", f"{path}/rounds", headers={"Prefer": f"wait={HOLD_SECONDS}"})
            while first["ended_at"] is None:
                await asyncio.sleep(0.1)
                first = await call(api, "GET", f"{path}/rounds/1")
            assert sorted(part["client_id"] for part in first["participations"] if part["status"] == "received") == [
                "edge-0",
                "edge-1",
                "edge-2",
            ]
            cursor = (await call(api, "GET", "/v1/events?after=0&limit=1000"))["cursor"]
            poll = asyncio.create_task(call(api, "GET", f"/v1/events?after={cursor}&wait={HOLD_SECONDS}"))
            await call(api, "PATCH", "/v1/clients/edge-0", json={"bandwidth": 3.0})
            async with asyncio.timeout(HOLD_SECONDS):
                assert (await poll)["items"]
            async with asyncio.timeout(PATIENCE):
                while "round.completed" not in events:  # noqa: ASYNC110  (of a reader that rings no bell)
                    await asyncio.sleep(0.05)
        assert not reading.done()
        reading.cancel()


async def follow(api: httpx2.AsyncClient, events: list[str]) -> None:
    async with api.stream("GET", "/v1/events/stream") as answer:
        assert answer.is_success
        async for line in answer.aiter_lines():
            events += [line.partition(":")[2].strip()] * line.startswith("event:")


@KINDS
async def test_models_are_uploaded_and_downloaded_through_a_proxy(kind: str, tmp_path: Path, sqlite_url: str) -> None:
    async with (
        proxied(kind, tmp_path, sqlite_url) as plane,
        AsyncClient(plane.url, plane.server.key, ca_file=plane.ca_file) as client,
    ):
        training = await client.create_training(name="large")
        model = {"w": np.random.default_rng(1).normal(size=3_000_000).astype(np.float32)}
        await client.upload_model(training.id, model)
        found = await client.download_model(training.id)
        assert np.array_equal(found["w"], model["w"])
        async with plane.api() as api:
            path = f"/v1/trainings/{training.id}/model"
            whole = await api.get(path)
            rest = await api.get(path, headers={"Range": f"bytes={len(whole.content) - 1000}-"})
            assert (rest.status_code, rest.content) == (206, whole.content[-1000:])
            again = await api.get(path, headers={"If-None-Match": whole.headers["ETag"]})
            assert again.status_code == 304
            await logs_in(api, plane)


async def logs_in(api: httpx2.AsyncClient, plane: Proxied) -> None:
    """A browser that sends no `Sec-Fetch-Site` logs in, and its pages may change something; pages of others may not."""
    answer = await api.post("/v1/session")
    cookie = answer.headers["Set-Cookie"]
    assert f"Path={PREFIX}/" in cookie
    assert "Secure" in cookie
    api.cookies.clear()
    own = plane.url.removesuffix(PREFIX)
    for origin, status in ((own, 201), ("https://other.example", 401)):
        headers = {"Cookie": cookie.partition(";")[0], "Origin": origin, "Authorization": ""}
        made = await api.post("/v1/trainings", json={"name": "by a page"}, headers=headers)
        assert made.status_code == status, made.text


@KINDS
async def test_the_pages_and_the_command_line_work_below_the_prefix(kind: str, tmp_path: Path, sqlite_url: str) -> None:
    async with proxied(kind, tmp_path, sqlite_url) as plane, plane.api() as api:
        origin = plane.url.removesuffix(PREFIX)
        moved = await api.get(plane.url)
        assert (moved.status_code, urljoin(origin, moved.headers["Location"])) == (308, f"{plane.url}/")
        assert (await api.get(f"{origin}/healthz")).status_code == 404
        wanted = [urljoin(origin, file) for file in REFERRED.findall((await api.get("/")).text)]
        got = set[str]()
        while wanted:
            address = wanted.pop()
            assert address.startswith(f"{plane.url}/dashboard/")
            answer = await api.get(address)
            assert answer.is_success, address
            assert answer.headers["Strict-Transport-Security"]
            got.add(address)
            wanted += {urljoin(address, place) for place in IMPORTED.findall(answer.text)} - got
        assert len(got) > 5
        page = (await api.get("/docs")).text
        for address in [urljoin(origin, file) for file in REFERRED.findall(page)]:
            assert (await api.get(address)).is_success, address
        assert (await call(api, "GET", "/openapi.json"))["servers"] == [{"url": PREFIX}]
        await call(api, "POST", "/v1/trainings", json={"name": "seen"}, headers={"X-Forwarded-For": "203.0.113.7"})
        listed = await asyncio.to_thread(
            ran, "tcsfeel", "trainings", "--json", "--server", plane.url, "--key", plane.server.key,
            "--ca-file", plane.ca_file, PATH=f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        )  # fmt: skip
        assert [one["name"] for one in json.loads(listed.stdout)] == ["seen"]
        await calls_over_grpc(api, plane)
        records = await call(api, "GET", "/v1/audit")
        assert {"POST /v1/trainings", "POST /v1/clients/{client_id}/outcomes"} <= {
            one["operation"] for one in records["items"]
        }
        assert "203.0.113.7" not in str(records), "the caller's own word for its address counted"


async def calls_over_grpc(api: httpx2.AsyncClient, plane: Proxied) -> None:
    """A coordinator selects over gRPC as over REST, and reports an outcome."""
    body = {"data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}
    for name in ("edge-0", "edge-1", "edge-2"):
        await call(api, "PUT", f"/v1/clients/{name}", json=body)
    asked = {"min_clients": 2, "max_clients": 2, "seed": 7}
    rest = await call(api, "POST", "/v1/selections", json=asked)
    metadata = (("authorization", f"Bearer {plane.server.key}"), ("x-forwarded-for", "203.0.113.7"))
    trusted_ones = grpc.ssl_channel_credentials(plane.ca_file.read_bytes())
    async with grpc.aio.secure_channel(plane.grpc, trusted_ones) as channel:
        found = await callers.call(channel, "OptimizeTopology", metadata=metadata, **asked)
        assert [one.client_id for one in found.selected] == [one["client_id"] for one in rest["selected"]]
        await callers.call(channel, "UpdateClientPerformance", metadata=metadata, client_id="edge-0")
        code, _, _ = await callers.refused(channel, "GetTopologyStats", metadata=())
        assert code == grpc.StatusCode.UNAUTHENTICATED
