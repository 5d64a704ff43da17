"""The examples in Go, compiled and run against a real server. They need Debian's Go and its packages for gRPC."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from grpc_tools import protoc

from examples import third_party_agent
from tests.e2e.servers import Server, call, free_port, server

ROOT = Path(__file__).parent.parent.parent
LIBRARIES = Path("/usr/share/gocode")
NEEDED = ("go", "protoc-gen-go", "protoc-gen-go-grpc")
HINT = (
    "apt-get install golang-go golang-google-grpc-dev golang-google-protobuf-dev protoc-gen-go-1-5 protoc-gen-go-grpc"
)
missing = [name for name in NEEDED if shutil.which(name) is None]
if not (LIBRARIES / "src/google.golang.org/grpc").is_dir():
    missing.append("golang-google-grpc-dev")

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason=f"there is no Go here: {HINT}")
needs_grpc = pytest.mark.skipif(bool(missing), reason=f"Go for gRPC needs {', '.join(missing)}: {HINT}")


async def run(*command: str, **environment: str) -> str:
    """Run a command that has to succeed, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def built(name: str, directory: Path, *, messages: bool = False) -> Path:
    """Compile an example as its page says."""
    sources = directory / "src" / "tcsfeel"
    shutil.copytree(ROOT / "examples" / "go" / name, sources / name)
    if messages:
        out = [f"--{kind}_out={directory / 'src'}" for kind in ("go", "go-grpc")]
        included = [f"-I{ROOT / 'proto'}", f"-I{files('grpc_tools') / '_proto'}"]
        assert protoc.main(["protoc", *included, *out, "tcsfeel/v1/topology.proto"]) == 0
    go = {
        "GO111MODULE": "off",
        "GOPATH": f"{directory}:{LIBRARIES}",
        "GOCACHE": str(directory / "cache"),
        "GOFLAGS": "",
    }
    await run("go", "vet", f"tcsfeel/{name}", **go)
    await run("go", "build", "-o", str(directory / name), f"tcsfeel/{name}", **go)
    return directory / name


@contextmanager
def agent(seed: int) -> Iterator[str]:
    """The address of an agent that was written without the SDK."""
    with third_party_agent.make_server(token=f"secret-{seed}", seed=seed) as foreign:
        Thread(target=foreign.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{foreign.server_address[1]}"
        foreign.shutdown()


def registration(number: int, url: str, token: str) -> dict[str, Any]:
    return {
        "id": f"edge-{number}",
        "url": url,
        "auth_token": token,
        "data_size": 160,
        "compute_capacity": 1.0,
        "bandwidth": 20.0 + number,
        "latency": 10.0,
    }


@pytest.fixture
async def plane(sqlite_url: str, tmp_path: Path) -> AsyncIterator[tuple[Server, int]]:
    port = free_port()
    async with server(tmp_path, sqlite_url, TCSFEEL_GRPC__PORT=str(port)) as started:
        yield started, port


@needs_grpc
async def test_a_go_program_selects_over_grpc_as_rest_does(plane: tuple[Server, int], tmp_path: Path) -> None:
    started, port = plane
    selector = await built("selector", tmp_path, messages=True)
    async with started.api() as api:
        for number in range(5):
            body = registration(number, f"http://10.0.0.{number}:9000", "a-token")
            await call(api, "PUT", f"/v1/clients/edge-{number}", json=body)
        asked = {"min_clients": 2, "max_clients": 3, "seed": 11}
        rest = await call(api, "POST", "/v1/selections", json=asked)
        arguments = ("-address", f"127.0.0.1:{port}", "-seed", "11", "-min", "2", "-max", "3")
        found = json.loads(await run(str(selector), *arguments, TCSFEEL_KEY=started.key))
        assert (found["clients"], found["total_cost"]) == (5, rest["total_cost"])
        assert [(one["client_id"], one["score"], one["breaker"]) for one in found["selected"]] == [
            (one["client_id"], one["score"], "closed") for one in rest["selected"]
        ]
        for one in found["selected"]:
            measured = (await call(api, "GET", f"/v1/clients/{one['client_id']}"))["measured"]
            assert (measured["train_seconds"], measured["last_update_quality"]) == (2.5, 0.75)
    process = await asyncio.create_subprocess_exec(
        str(selector), *arguments, env=os.environ | {"TCSFEEL_KEY": "wrong"}, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"Unauthenticated" in errors


@needs_go
async def test_a_go_program_registers_clients_and_drives_rounds_over_rest(
    plane: tuple[Server, int], tmp_path: Path
) -> None:
    started, _ = plane
    coordinator = await built("coordinator", tmp_path)
    with ExitStack() as agents:
        urls = [agents.enter_context(agent(seed)) for seed in range(3)]
        clients = [registration(number, url, f"secret-{number}") for number, url in enumerate(urls)]
        (tmp_path / "clients.json").write_text(json.dumps(clients))
        output = await run(
            str(coordinator),
            *("-server", started.url, "-clients", str(tmp_path / "clients.json"), "-target", "0.8", "-rounds", "10"),
            TCSFEEL_KEY=started.key,
        )
    lines = output.splitlines()
    assert lines[:3] == ["registered edge-0", "registered edge-1", "registered edge-2"]
    assert sum(line.startswith("would select edge-") for line in lines) >= 2
    assert any(line.startswith("round 1: ") and "accuracy 0." in line for line in lines)
    assert lines[-1] == "the training has completed: target_accuracy"
