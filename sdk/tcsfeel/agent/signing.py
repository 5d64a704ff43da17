"""Make sure that calls of an agent come from its control plane, and sign the answers to them."""

import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httpx2

from tcsfeel.agent.asgi import Request, Response
from tcsfeel.agent.errors import UntrustedTask
from tcsfeel.agent.replies import ParametersResponse, Problem
from tcsfeel.identity import Identity
from tcsfeel.rest.paths import path
from tcsfeel.wire.digests import CONTENT_DIGEST, read_digest
from tcsfeel.wire.grants import Grant
from tcsfeel.wire.signatures import (
    ACCEPT_SIGNATURE,
    RECIPIENT,
    SIGNATURE,
    SIGNATURE_INPUT,
    WINDOW_SECONDS,
    Signed,
    WrongSignature,
    answer_components,
    call_components,
    check_answer,
    check_call,
    digest_header,
    result_components,
    sign_answer,
    task_components,
    wanted_signature,
)

Answer = ParametersResponse | Response


class Signing:
    """The keys of one agent's calls and answers, and the calls that it has accepted lately.

    An agent that restarts does not know which calls it has accepted before. If one of them is repeated within a minute,
    its answer still fits only the call that it was made for.

    Args:
        identity: the identity of the device.
        server_key: the public key of its control plane.
        clock: unix seconds.
    """

    def __init__(self, identity: Identity, server_key: str, *, clock: Callable[[], float] = time.time) -> None:
        self.identity = identity
        self._server_key = server_key
        self._clock = clock
        self._challenge = {"WWW-Authenticate": f'Signature realm="agent", keyid="{server_key}"'}
        self._accepted: dict[str, float] = {}

    def admit(self, request: Request, target: str) -> Signed:
        """Return the signature of a call for `target`, the path and query that the control plane called.

        Raises:
            Problem: 401, since the control plane did not sign this call just now and for this agent.
        """
        named = digest_header(request.method)
        has_body = request.method in {"PUT", "PATCH"}
        digest = request.header(named.lower()) if has_body else ""
        components = call_components(request.method, target, self.identity.public_key, digest)
        headers = {name: request.header(name.lower()) for name in (SIGNATURE_INPUT, SIGNATURE, RECIPIENT)}
        now = self._clock()
        try:
            if headers[RECIPIENT] not in {"", self.identity.public_key}:
                raise WrongSignature("it is for another device, which has another key")  # noqa: TRY301  (as below)
            if has_body and read_digest(digest) is None:
                raise WrongSignature(f"it has no {named} with sha-256")  # noqa: TRY301  (as below)
            call = check_call(headers, components, key=self._server_key, now=now)
            self._accept(call, now)
        except WrongSignature as wrong:
            detail = f"this agent takes only calls that its control plane has signed: {wrong}"
            raise Problem(HTTPStatus.UNAUTHORIZED, detail, self._challenge, again=wrong.passing) from None
        return call

    def signed(self, answer: Answer, call: Signed) -> Answer:
        """Return the answer with a signature, which fits no other call."""
        components = answer_components(answer.status, answer.digest, call)
        _, headers = sign_answer(self.identity, components, now=self._clock())
        return answer.with_headers(headers)

    def wanted(self, nonce: str) -> dict[str, str]:
        """Return the header with which an agent that pulls asks for a signed task; the `nonce` is new each time."""
        return {ACCEPT_SIGNATURE: wanted_signature(self._server_key, nonce)}

    def check_task(self, headers: Mapping[str, str], nonce: str) -> None:
        """Check that the control plane has signed a task that this agent asked for with a nonce.

        Raises:
            UntrustedTask: it has not.
        """
        components = task_components(headers.get(CONTENT_DIGEST, ""), self.identity.public_key)
        try:
            check_answer(headers, components, key=self._server_key, nonce=nonce)
        except WrongSignature as wrong:
            raise UntrustedTask(f"the control plane of this agent has not signed the task that came: {wrong}") from None

    def sign_result(self, client_id: str, task_id: str, digest: str, method: str = "PUT") -> dict[str, str]:
        """Return the headers of the signature of a result, which fits no other task.

        `method` is ``PATCH`` for a result that goes in parts.
        """
        where = path("/v1/clients/{client_id}/tasks/{task_id}/result", client_id, task_id)
        _, headers = sign_answer(self.identity, result_components(where, digest, method), now=self._clock())
        return headers

    def has_granted(self, grant: Grant, task_id: str) -> bool:
        """Tell whether the control plane has granted a task to a relay."""
        return grant.is_by_key(self._server_key, task_id)

    def sign_for_relay(self, task_id: str, digest: str) -> dict[str, str]:
        """Return the headers of the signature of a result that a relay fetches. It fits no other task."""
        _, headers = sign_answer(self.identity, result_components(f"/tasks/{task_id}", digest), now=self._clock())
        return headers

    def _accept(self, call: Signed, now: float) -> None:
        """Remember the nonce of a call for as long as its signature is valid. Raises `WrongSignature`."""
        while self._accepted and next(iter(self._accepted.values())) < now:
            del self._accepted[next(iter(self._accepted))]
        if call.nonce in self._accepted:
            raise WrongSignature("this call was made before", passing=True)
        self._accepted[call.nonce] = call.created + WINDOW_SECONDS


def path_of(url: str) -> str:
    """Return the path of an agent's URL as the control plane sends it, without a slash at its end."""
    return httpx2.URL(url).raw_path.decode("ascii").partition("?")[0].rstrip("/")
