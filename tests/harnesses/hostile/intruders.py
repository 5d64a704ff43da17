"""List callers that are not who they say, or want what their keys do not allow; and callers of honest agents.

Each of them is refused every time, with the status that `Kind.answers` names.
"""

import itertools
import json
import secrets
import time
from collections.abc import Callable
from typing import Literal

from tcsfeel.identity import Identity, written
from tcsfeel.wire.digests import CONTENT_DIGEST, digest_of, written_digest
from tcsfeel.wire.enrolment import invitation_of, proof_text
from tcsfeel.wire.signatures import RECIPIENT, SIGNATURE_INPUT, call_components, sign_call
from tests.harnesses.hostile.signing import HONEST_TOKEN
from tests.harnesses.hostile.sockets import Attack, Kind, Line, Target, head_of, request

VICTIM = "q-0"
_JSON = "Content-Type: application/json"
_PROFILE = {"url": "http://127.0.0.1:9", "data_size": 10, "compute_capacity": 1.0, "bandwidth": 1.0, "latency": 1.0}
_STRANGER = Identity.make()
_UNKNOWN = frozenset({"401"})
_FORBIDDEN = frozenset({"403"})
_WRONG = frozenset({"422"})
_OVER = frozenset({"410"})

Operations = tuple[tuple[str, str, object], ...]

_OF_CLIENT: Operations = (
    ("GET", f"/v1/clients/{VICTIM}", None),
    ("PUT", f"/v1/clients/{VICTIM}", _PROFILE),
    ("PATCH", f"/v1/clients/{VICTIM}", {"url": "http://127.0.0.1:9"}),
    ("POST", f"/v1/clients/{VICTIM}/heartbeat", {"bandwidth": 1.0}),
)
_OF_OPERATORS: Operations = (
    ("DELETE", f"/v1/clients/{VICTIM}", None),
    ("POST", f"/v1/clients/{VICTIM}/breaker/open", None),
    ("POST", f"/v1/clients/{VICTIM}/replacement", {}),
    ("POST", "/v1/clients", _PROFILE),
    ("POST", "/v1/trainings", {"name": "x"}),
    ("POST", "/v1/invitations", {}),
)
_OF_ADMINS: Operations = (
    ("POST", "/v1/keys", {"name": "x", "role": "admin"}),
    ("GET", "/v1/keys", None),
    ("DELETE", "/v1/keys/000000000000", None),
    ("GET", "/v1/audit", None),
)
_OF_VIEWERS: Operations = (("GET", "/v1/trainings", None), ("GET", "/v1/clients", None), ("GET", "/v1/topology", None))


def in_turn(key: str, operations: Operations, *headers: str) -> Attack:
    """Make an attack that tries one operation after another with a key."""
    left = itertools.cycle(operations)

    async def attack(line: Line, target: Target) -> None:
        method, path, value = next(left)
        body = b"" if value is None else json.dumps(value).encode()
        kind = [] if value is None else [_JSON]
        await line.send(head_of(method, path, target.keys[key], *headers, *kind, length=len(body)), body)

    return attack


def enrolling(
    secret: str,
    *,
    client_id: Callable[[Target], str] = lambda _: f"x-{secrets.token_hex(4)}",
    public_key: Callable[[Target], str] = lambda _: _STRANGER.public_key,
    signed_for: str | None = None,
    is_signed: bool = True,
) -> Attack:
    """Make an attack that enrols with an invitation; its proof is for the invitation `signed_for` if that is given."""

    async def attack(line: Line, target: Target) -> None:
        name, key = client_id(target), public_key(target)
        invitation = invitation_of(target.keys[signed_for or secret]) or ""
        text = proof_text(invitation_id=invitation, client_id=name, public_key=key)
        proof = written(_STRANGER.sign(text) if is_signed else bytes(64))
        body = json.dumps({"client_id": name, "public_key": key, "proof": proof}).encode()
        await line.send(head_of("POST", "/v1/enrolments", target.keys[secret], _JSON, length=len(body)), body)

    return attack


Signer = Literal["nobody", "stranger", "server"]


def calling_agent(method: str, path: str, *, signer: Signer = "nobody", age: float = 0.0, times: int = 1) -> Kind:
    """Call an honest agent with its token, `times` times.

    The call is not signed, or by a stranger in the name of its control plane, or by that itself `age` seconds ago, as
    if somebody had recorded it on the way.
    """

    async def attack(line: Line, target: Target) -> None:
        body = b"{}" if method == "PUT" else b""
        headers = {"Authorization": f"Bearer {HONEST_TOKEN}"}
        if body:
            headers[CONTENT_DIGEST] = written_digest(digest_of([body]))
        if signer != "nobody":
            genuine = Identity(bytes.fromhex(target.keys["seed of the server"]))
            identity = _STRANGER if signer == "stranger" else genuine
            recipient = target.keys["agent's public key"]
            components = call_components(method, path, recipient, headers.get(CONTENT_DIGEST, ""))
            _, made = sign_call(identity, components, now=time.time() - age, nonce=secrets.token_urlsafe(16))
            made[SIGNATURE_INPUT] = made[SIGNATURE_INPUT].replace(identity.public_key, genuine.public_key)
            headers |= {RECIPIENT: recipient} | made
        head = head_of(method, path, None, *(f"{name}: {value}" for name, value in headers.items()), length=len(body))
        await line.send(*[head, body] * times)

    return Kind(attack, answers=_UNKNOWN, at_agents=True, reads=times)


def bearer(path: str, *headers: str) -> Kind:
    return Kind(request("GET", path, *headers), answers=_UNKNOWN)


_TASK = "/agents/s-honest-0/tasks/0123456789abcdef.1.s-honest-0.fit"
_VIEW = _OF_VIEWERS[:1]

INTRUDERS: dict[str, Kind] = {
    "expired-key": Kind(in_turn("expired", _OF_VIEWERS + _OF_OPERATORS), answers=_UNKNOWN),
    "revoked-key": Kind(in_turn("revoked", _OF_VIEWERS + _OF_ADMINS), answers=_UNKNOWN),
    "forged-key": Kind(in_turn("forged", _OF_VIEWERS + _OF_ADMINS), answers=_UNKNOWN),
    "guessed-key": Kind(in_turn("guessed", _OF_ADMINS), answers=_UNKNOWN),
    "guessed-admin-key": Kind(in_turn("guessed admin key", _OF_ADMINS), answers=_UNKNOWN),
    "invitation-as-a-key": Kind(in_turn("invitation", _OF_VIEWERS), answers=_UNKNOWN),
    "key-in-the-query": bearer("/v1/clients?api_key=tcsfeel_admin_000000000000_" + "0" * 48),
    "key-in-a-cookie": bearer("/v1/clients", "Cookie: Authorization=Bearer%20x"),
    "forged-forwarded-for": bearer("/v1/clients", "X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"),
    "dots-in-the-path": Kind(request("GET", "/healthz/../v1/keys"), answers=frozenset({"400", "401", "404"})),
    "slashes-in-the-path": Kind(request("GET", "//v1//clients"), answers=frozenset({"401", "404"})),
    "absolute-form": Kind(request("GET", "http://127.0.0.1:22/v1/clients"), answers=frozenset({"400", "401", "404"})),
    "two-framings": Kind(
        request("POST", "/v1/clients", "Transfer-Encoding: chunked", body=b"0\r\n\r\nGET /v1/keys HTTP/1.1\r\n\r\n"),
        answers=frozenset({"400", "401"}),
    ),
    "viewer-that-changes": Kind(in_turn("viewer", _OF_OPERATORS + _OF_ADMINS), answers=_FORBIDDEN),
    "operator-that-administers": Kind(in_turn("operator", _OF_ADMINS), answers=_FORBIDDEN),
    "key-of-another-agent": Kind(in_turn("agent", _OF_CLIENT), answers=_FORBIDDEN),
    "agent-that-operates": Kind(in_turn("agent", _OF_OPERATORS + _OF_ADMINS + _OF_VIEWERS), answers=_FORBIDDEN),
    "repeated-heartbeat-of-a-revoked-agent": Kind(
        in_turn("revoked agent", (("POST", "/v1/clients/s-revoked/heartbeat", None),)), answers=_UNKNOWN
    ),
    "revoked-agent-that-moves": Kind(
        in_turn("revoked agent", (("PUT", "/v1/clients/s-revoked", _PROFILE),)), answers=_UNKNOWN
    ),
    "guessed-invitation": Kind(enrolling("guessed invitation"), answers=_UNKNOWN),
    "forged-invitation": Kind(enrolling("forged invitation"), answers=_UNKNOWN),
    "key-as-an-invitation": Kind(enrolling("operator"), answers=_UNKNOWN),
    "redeemed-invitation": Kind(enrolling("redeemed invitation"), answers=_OVER),
    "revoked-invitation": Kind(enrolling("revoked invitation"), answers=_OVER),
    "proof-missing": Kind(enrolling("invitation", is_signed=False), answers=_WRONG),
    "proof-for-another-invitation": Kind(enrolling("invitation", signed_for="redeemed invitation"), answers=_WRONG),
    "proof-for-a-key-of-another": Kind(
        enrolling("invitation", public_key=lambda target: target.keys["agent's public key"]), answers=_WRONG
    ),
    "weak-public-key": Kind(enrolling("invitation", public_key=lambda _: "A" * 43), answers=_WRONG),
    "id-of-another-device": Kind(enrolling("invitation", client_id=lambda _: VICTIM), answers=frozenset({"409"})),
    "agent-called-without-signature": calling_agent("PUT", _TASK),
    "agent-called-with-a-forged-signature": calling_agent("PUT", _TASK, signer="stranger"),
    "agent-asked-for-a-foreign-task": calling_agent("GET", f"{_TASK}?wait=20"),
    "agent-told-to-forget-a-foreign-task": calling_agent("DELETE", _TASK, signer="stranger"),
    "agent-asked-for-a-model": calling_agent("GET", "/agents/s-honest-0/model"),
    "agent-called-with-an-expired-signature": calling_agent("PUT", _TASK, signer="server", age=3600.0),
    "agent-called-with-a-repeated-signature": calling_agent("DELETE", _TASK, signer="server", times=2),
}
