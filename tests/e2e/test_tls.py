"""A federation over HTTPS with a private authority: the server, an agent, both clients and the command line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from examples import minimal_trainer
from tcsfeel.agent import hosting
from tcsfeel.agent.server import Hosting
from tcsfeel.cli import cli
from tcsfeel.client import AsyncClient, Client
from tcsfeel.rest.exchange import Patience
from tcsfeel.rest.problems import NoAnswer
from tests.authorities import Authority, Pair
from tests.e2e.servers import Server, call, unhandled
from tests.planes import until

ONCE = Patience(attempts=1)


class SecureServer(Server):
    """A server with a certificate of an authority."""

    def __init__(self, directory: Path, database_url: str, authority: Authority) -> None:
        certificate, key = authority.certify("127.0.0.1")
        super().__init__(
            directory,
            database_url,
            TCSFEEL_TLS__CERT_FILE=str(certificate),
            TCSFEEL_TLS__KEY_FILE=str(key),
            TCSFEEL_AGENTS__CA_FILE=str(authority.ca),
        )
        self.certificate = Pair(certificate, key)
        self.url = self.url.replace("http:", "https:")
        self.ca_file = authority.ca


@asynccontextmanager
async def secure(directory: Path, database_url: str, authority: Authority) -> AsyncIterator[SecureServer]:
    started = SecureServer(directory, database_url, authority)
    await started.start()
    try:
        yield started
    finally:
        started.kill()


async def test_a_federation_over_https(sqlite_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trainers = {"edge-7": minimal_trainer.trainer()}
    async with (
        secure(tmp_path, sqlite_url, authority) as plane,
        plane.api() as api,
        hosting(trainers, server_url=plane.url, api_key=plane.key, ca_file=authority.ca),
    ):
        selection = {"min_clients": 1, "max_clients": 1}
        training = await call(api, "POST", "/v1/trainings", json={"name": "tls", "selection": selection})
        path = f"/v1/trainings/{training['id']}/rounds"
        ended = await call(api, "POST", path, headers={"Prefer": "wait=30"})
        assert ended["status"] == "completed", ended

        def blocking() -> list[str]:
            with Client(plane.url, plane.key, ca_file=authority.ca) as client:
                return [one.id for one in client.clients()]

        def command(*options: str) -> Result:
            given = ["clients", "--server", plane.url, "--key", plane.key, *options]
            return CliRunner().invoke(cli, given, env={"SSL_CERT_FILE": None})

        assert await asyncio.to_thread(blocking) == ["edge-7"]
        async with AsyncClient(plane.url, plane.key, ca_file=authority.ca) as client:
            assert (await client.get_client("edge-7")).id == "edge-7"
        known = await asyncio.to_thread(command, "--ca-file", str(authority.ca))
        assert (known.exit_code, "edge-7" in known.output) == (0, True), known.output
        other = Authority(tmp_path, "other").ca
        async with AsyncClient(plane.url, plane.key, ca_file=other, patience=ONCE) as stranger:
            with pytest.raises(NoAnswer, match="certificate verify failed"):
                await stranger.get_client("edge-7")
        missing = await asyncio.to_thread(command, "--ca-file", str(tmp_path / "none.pem"))
        assert missing.exit_code == 1
        assert "none.pem cannot be read: No such file or directory" in missing.output
    assert unhandled(tmp_path / "server.log") == []


async def test_agents_serve_https_with_certificates_of_a_private_authority(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    authority, other = Authority(tmp_path), Authority(tmp_path / "others", "other")
    async with secure(tmp_path, sqlite_url, authority) as plane, plane.api() as api:
        invitation = await call(api, "POST", "/v1/invitations", json={"uses": 2})

        def agent(name: str, certificate: Pair) -> AbstractAsyncContextManager[Hosting]:
            return hosting(
                {name: minimal_trainer.trainer()},
                server_url=plane.url,
                invite=invitation["secret"],
                state=tmp_path / name,
                ca_file=authority.ca,
                tls_cert=certificate.certificate,
                tls_key=certificate.key,
            )

        async with agent("edge-7", plane.certificate) as known, agent("edge-8", other.certify("127.0.0.1")):
            assert known.url.startswith("https://127.0.0.1:")

            async def asked() -> bool:
                found = {one["id"]: one["unproven"] for one in (await call(api, "GET", "/v1/clients"))["items"]}
                return found["edge-7"] is None and "there is no TLS connection" in str(found["edge-8"])

            await until(asked)
            selection = {"min_clients": 1, "max_clients": 2}
            training = await call(api, "POST", "/v1/trainings", json={"name": "tls", "selection": selection})
            path = f"/v1/trainings/{training['id']}/rounds"
            ended = await call(api, "POST", path, headers={"Prefer": "wait=30"})
    assert [(part["client_id"], part["status"]) for part in ended["participations"]] == [("edge-7", "received")]
    assert unhandled(tmp_path / "server.log") == []
