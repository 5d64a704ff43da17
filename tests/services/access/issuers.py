"""An OpenID Connect issuer on this machine, with keys of three kinds, and the tokens that it signs."""

import asyncio
import json
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.settings import OidcSettings

AUDIENCE = "tcsfeel"
NOW = 1_000_000  # of the clock of tests
Key = RSAKey | ECKey | OKPKey


@cache
def keys() -> dict[str, Key]:
    """Keys by their algorithms, which the issuer publishes."""
    return {
        "RS256": RSAKey.generate_key(2048, {"kid": "rsa-1", "use": "sig"}),
        "ES256": ECKey.generate_key("P-256", {"kid": "ec-1", "use": "sig"}),
        "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "ed-1"}),
    }


def sign(header: dict[str, Any], payload: bytes, key: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # EdDSA is an old name
        registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
        registry.max_header_length = registry.max_payload_length = 1_000_000
        return jws.serialize_compact(header, payload, key, registry=registry)


@dataclass
class Issuer:
    """What the issuer publishes, how it misbehaves, and which paths were asked for."""

    port: int
    published: list[dict[str, Any]]
    mode: str = "well"
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/realm"

    @property
    def settings(self) -> OidcSettings:
        return OidcSettings(issuer=self.url, audience=AUDIENCE)

    def claims(self, **changes: Any) -> dict[str, Any]:
        given = {"iss": self.url, "aud": AUDIENCE, "sub": "alice", "exp": NOW + 300, "roles": ["operator"]} | changes
        return {name: value for name, value in given.items() if value is not None}

    def token(self, algorithm: str = "RS256", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
        key = keys()[algorithm]
        given = {"alg": algorithm, "kid": key.kid, "typ": "JWT"} | (header or {})
        return sign(given, json.dumps(self.claims(**changes)).encode(), key)

    def body(self, path: str) -> bytes:
        if path.endswith("/.well-known/openid-configuration"):
            issuer = "http://127.0.0.1:1/other" if self.mode == "other issuer" else self.url
            uri = {"insecure": "http://keys.example/jwks", "nothing": None}.get(self.mode, f"{self.url}/jwks")
            return json.dumps({"issuer": issuer, "jwks_uri": uri}).encode()
        many = {"huge": b" " * 100_000, "deep": b"[" * 60_000, "garbage": b"{", "empty": b'{"keys": []}'}
        return many.get(self.mode) or json.dumps({"keys": self.published}).encode()


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """Serve an issuer over HTTP."""
    issuer = Issuer(0, [key.as_dict(private=False) for key in keys().values()])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        except asyncio.IncompleteReadError:  # a caller whose patience was over before it had sent anything
            writer.close()
            return
        issuer.asked.append(path)
        if issuer.mode == "hangs":
            await reader.read()  # until the caller hangs up
        body = issuer.body(path)
        status = {"fails": "500 Broken", "moves": "302 Found"}.get(issuer.mode, "200 OK")
        head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(f"{head}\r\n\r\n".encode() + body)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    issuer.port = server.sockets[0].getsockname()[1]
    try:
        yield issuer
    finally:
        server.close()
        await asyncio.gather(*tasks)
