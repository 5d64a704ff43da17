"""gRPC beside a server as its users run it: probes, reflection, TLS, and what stops the start."""

import asyncio
import signal
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from app.rpc.messages import PACKAGE, SERVICE
from tests.authorities import Authority
from tests.e2e.servers import Server, command, free_port, server, unhandled
from tests.rpc.callers import call, refused


async def health(channel: grpc.aio.Channel, service: str = SERVICE) -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    answer = await check(health_pb2.HealthCheckRequest(service=service), timeout=60.0)
    found: int = answer.status
    return found


def bearer(plane: Server) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {plane.key}"),)


async def test_a_server_answers_calls_and_probes_and_describes_itself(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    async with server(tmp_path, database_url, TCSFEEL_GRPC__PORT=str(port)) as plane, plane.api() as api:
        for name in ("edge-0", "edge-1", "edge-2"):
            body = {"data_size": 10, "compute_capacity": 1.0, "bandwidth": 8.0, "latency": 5.0}
            assert (await api.put(f"/v1/clients/{name}", json=body)).is_success
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert (await call(channel, "GetTopologyStats", metadata=bearer(plane))).num_clients == 3
            asked = {"min_clients": 2, "max_clients": 2, "seed": 7}
            rest = (await api.post("/v1/selections", json=asked)).json()
            found = await call(channel, "OptimizeTopology", metadata=bearer(plane), **asked)
            assert [one.client_id for one in found.selected] == [one["client_id"] for one in rest["selected"]]
            assert (await refused(channel, "GetTopologyStats", metadata=()))[0] == grpc.StatusCode.UNAUTHENTICATED
            assert await health(channel) == await health(channel, "") == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.aio.AioRpcError, match="NOT_FOUND"):
                await health(channel, "another")
        described = await asyncio.to_thread(services, port)
        assert described == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert 'federated_grpc_calls_total{code="OK",method="OptimizeTopology"} 1.0' in (await api.get("/metrics")).text
        assert plane.stop() == -signal.SIGTERM
        assert unhandled(plane.log) == []


def services(port: int) -> set[str]:
    """The services that reflection names, and a message that it describes."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        file = database.FindFileContainingSymbol(f"{PACKAGE}.OptimizeTopologyRequest")
        assert file.name == "tcsfeel/v1/topology.proto"
        return set(database.get_services())


async def test_without_reflection_a_server_does_not_describe_itself(sqlite_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {"TCSFEEL_GRPC__PORT": str(port), "TCSFEEL_GRPC__REFLECTION": "false"}
    async with server(tmp_path, sqlite_url, **settings):
        with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
            await asyncio.to_thread(services, port)


async def test_calls_over_tls_with_the_certificate_of_the_server(sqlite_url: str, tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    certificate, key = authority.certify("127.0.0.1")
    plane = Server(
        tmp_path,
        sqlite_url,
        TCSFEEL_TLS__CERT_FILE=str(certificate),
        TCSFEEL_TLS__KEY_FILE=str(key),
        TCSFEEL_GRPC__PORT=str(port),
    )
    plane.url, plane.ca_file = plane.url.replace("http:", "https:"), authority.ca
    await plane.start()
    try:
        trusted = grpc.ssl_channel_credentials(authority.ca.read_bytes())
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusted) as channel:
            assert (await call(channel, "GetTopologyStats", metadata=bearer(plane))).num_clients == 0
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            code, _, _ = await refused(channel, "GetTopologyStats", metadata=bearer(plane))
            assert code == grpc.StatusCode.UNAVAILABLE
    finally:
        plane.kill()


async def test_a_port_in_use_stops_the_start_with_its_reason(sqlite_url: str, tmp_path: Path) -> None:
    port, first = free_port(), tmp_path / "first"
    first.mkdir()
    async with server(first, sqlite_url, TCSFEEL_GRPC__PORT=str(port)):
        plane = Server(tmp_path, sqlite_url)
        serve = ("serve", "--port", str(plane.port), "--grpc-port", str(port))
        status, output = await command(tmp_path, plane.environment, *serve)
    assert status == 1
    assert f"cannot listen for gRPC on 127.0.0.1 port {port}" in output


async def test_a_port_without_the_packages_stops_the_start_with_what_to_install(
    sqlite_url: str, tmp_path: Path
) -> None:
    plane = Server(tmp_path, sqlite_url)
    without = "import sys; sys.modules['grpc'] = None; from tcsfeel.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", without, "serve", "--port", str(plane.port), "--grpc-port", "0"),
        env=plane.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert "pip install 'tcsfeel-server[grpc]'" in output.decode()
