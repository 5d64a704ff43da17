"""Calls of agents with https: whom the server trusts, and the certificate that it shows.

Covers: app.services.tasks.connections
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.certificates import for_agents, for_callers
from app.services.tasks.answers import AgentFailed
from app.services.tasks.bodies import TaskBody
from app.settings import AgentSettings, Settings, WrongSetting
from app.store.model_store import ModelStore
from tests.authorities import Authority
from tests.services.fakes import HERE, LOOPBACK, calling, endpoint, reply


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def agent(tls: ssl.SSLContext) -> AsyncIterator[str]:
    """An agent with TLS. Gives its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply("200 OK"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HERE, 0, ssl=tls)
    try:
        yield f"https://{HERE}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_an_agent_of_a_private_authority_is_called_and_no_other(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with agent(authority.server(HERE)) as url:
        async with calling(**LOOPBACK, ca_file=authority.ca) as agents:
            assert (await agents.health(endpoint(url))).alive
            assert not (await agents.health(endpoint(url.replace("https", "http")))).alive
        for trusted in (None, other.ca):
            async with calling(**LOOPBACK, ca_file=trusted) as agents:
                assert not (await agents.health(endpoint(url))).alive
                with pytest.raises(AgentFailed, match=r"there is no TLS connection to the agent: .*certificate"):
                    await agents.poll(endpoint(url), "t", 1.0, ModelStore(tmp_path))


@pytest.mark.parametrize("chunk", [None, 50_000], ids=["with a length", "in chunks"])
async def test_models_and_results_of_several_blocks_go_over_tls(
    authority: Authority, tmp_path: Path, chunk: int | None
) -> None:
    content = bytes(range(256)) * 13_000
    got: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        got.append(await reader.readexactly(length))
        if chunk is None:
            writer.write(reply("200 OK", content))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            pieces = [content[start : start + chunk] for start in range(0, len(content), chunk)]
            writer.write(b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""]))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HERE, 0, ssl=authority.server(HERE))
    url, spool = f"https://{HERE}:{server.sockets[0].getsockname()[1]}", ModelStore(tmp_path / "spool", durable=False)
    async with server, calling(**LOOPBACK, ca_file=authority.ca, max_bytes=1 << 23) as agents, asyncio.timeout(30):
        result = await agents.hand_over(endpoint(url), "t", TaskBody(b"head", memoryview(content)), spool)
    assert result.file is not None
    assert bytes(spool.map(result.file.sha256)) == content
    assert got == [b"head" + content]


async def test_a_certificate_for_another_name_is_refused(authority: Authority, tmp_path: Path) -> None:
    async with agent(authority.server("edge-7.example")) as url, calling(**LOOPBACK, ca_file=authority.ca) as agents:
        with pytest.raises(AgentFailed, match=r"certificate is not valid for .127\.0\.0\.1"):
            await agents.poll(endpoint(url), "t", 1.0, ModelStore(tmp_path))


async def test_an_agent_that_asks_for_a_certificate_gets_ours(authority: Authority) -> None:
    ours = authority.certify("plane")
    shown: dict[str, Any] = {"client_cert_file": ours.certificate, "client_key_file": ours.key}
    async with agent(authority.server(HERE, asks_clients=True)) as url:
        async with calling(**LOOPBACK, ca_file=authority.ca, **shown) as agents:
            assert (await agents.health(endpoint(url))).alive
        async with calling(**LOOPBACK, ca_file=authority.ca) as agents:
            assert not (await agents.health(endpoint(url))).alive


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ca_file": "none.pem"}, "TCSFEEL_AGENTS__CA_FILE: none.pem cannot be read: No such file or directory"),
        (
            {"client_cert_file": "none.crt", "client_key_file": __file__},
            "TCSFEEL_AGENTS__CLIENT_CERT_FILE: none.crt cannot be read: No such file or directory",
        ),
        (
            {"client_cert_file": __file__, "client_key_file": "none.key"},
            "TCSFEEL_AGENTS__CLIENT_KEY_FILE: none.key cannot be read: No such file or directory",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_setting(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongSetting) as caught:
        for_agents(AgentSettings(**wrong))
    assert str(caught.value) == words


def test_the_server_speaks_plain_http_unless_it_has_a_certificate(authority: Authority) -> None:
    assert for_callers(Settings.load().tls) is None
    ours = authority.certify("localhost")
    settings = Settings.load(tls={"cert_file": ours.certificate, "key_file": ours.key})
    assert isinstance(for_callers(settings.tls), ssl.SSLContext)
    ours.key.unlink()
    with pytest.raises(WrongSetting, match=r"TCSFEEL_TLS__KEY_FILE: .*localhost\.key cannot be read: No such file"):
        for_callers(settings.tls)
