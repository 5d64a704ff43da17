"""A control plane that lets devices enrol, and notes what they send."""

from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tcsfeel.identity import Identity, read, verify
from tcsfeel.wire.enrolment import invitation_of, invitation_secret, proof_text

INVITE = invitation_secret("0123456789abcdef", "ab" * 32)
SERVER = Identity(bytes(32))


class EnrollingPlane:
    """An ASGI app in which devices enrol and register. `statuses` are the next answers to enrolments, 201 then."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.enrolled: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, str] = {}  # those that are valid, by client
        self.calls: list[tuple[str, str]] = []
        self.registered: dict[str, dict[str, Any]] = {}
        self.app = Starlette(
            routes=[
                Route("/v1/enrolments", self._enrol, methods=["POST"]),
                Route("/v1/clients/{id}", self._client, methods=["GET", "PUT"]),
                Route("/v1/clients/{id}/heartbeat", self._client, methods=["POST"]),
            ]
        )

    async def _enrol(self, request: Request) -> Response:
        self.calls.append(("POST", "/v1/enrolments"))
        status = self.statuses.pop(0) if self.statuses else 201
        body = await request.json()
        assert request.headers["authorization"] == f"Bearer {INVITE}"
        text = proof_text(
            invitation_id=invitation_of(INVITE) or "", client_id=body["client_id"], public_key=body["public_key"]
        )
        assert verify(body["public_key"], read(body["proof"] + "="), text)
        if status != 201:
            return JSONResponse({"status": status, "detail": "told to refuse"}, status)
        client_id = body["client_id"]
        self.enrolled[client_id] = body
        self.keys[client_id] = f"tcsfeel_agent_{len(self.calls)}_{client_id}"
        answer = {"client_id": client_id, "key": self.keys[client_id], "server_public_key": SERVER.public_key}
        return JSONResponse(answer | {"key_id": "k", "tags": {}}, 201)

    async def _client(self, request: Request) -> Response:
        client_id = request.path_params["id"]
        self.calls.append((request.method, request.url.path))
        if request.headers.get("authorization") != f"Bearer {self.keys.get(client_id)}":
            return JSONResponse({"status": 401, "detail": "the key has been revoked"}, 401)
        if request.method == "PUT":
            self.registered[client_id] = await request.json()
        return JSONResponse({}, 200)
