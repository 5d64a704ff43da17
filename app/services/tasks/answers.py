"""Answers of agents, and whether they are what the agent sent: their digests and their signatures."""

import asyncio
import contextlib
import hashlib
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from app.domain.clients import Endpoint, Health
from app.domain.failures import FailureKind
from app.domain.rounds import Evidence
from app.services.tasks.breaks import BROKEN
from app.services.tasks.complaints import Complaint, read_complaint
from app.services.tasks.replies import coding_of
from app.services.tasks.responses import Response
from app.turns import Turns
from tcsfeel.errors import Picklable
from tcsfeel.text import SHOWN, plain
from tcsfeel.wire.compression import IDENTITY
from tcsfeel.wire.digests import CONTENT_DIGEST, read_digest
from tcsfeel.wire.signatures import SIGNATURE, SIGNATURE_INPUT, Signed, WrongSignature, answer_components, check_answer
from tcsfeel.wire.sizes import ERROR_BYTES

log = structlog.get_logger(__name__)


class AgentFailed(Picklable):
    """A call failed and counts against the client: it could not be reached, was too slow, or gave a wrong answer.

    Attributes:
        passing: whether another try may have another result.
        kind: whether the agent could not be reached, or what it said was wrong.
        doubt: why the agent cannot be the one that has the client's key, if that is the reason.
        traceback: the last lines of the traceback of an exception in its trainer.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = True,
        kind: FailureKind = "faulty",
        traceback: str | None = None,
        doubt: str | None = None,
        limit: int = SHOWN,
    ) -> None:
        """`limit` is how many characters of the reason are kept."""
        super().__init__(plain(reason, limit))
        self.passing = passing
        self.kind: FailureKind = kind
        self.traceback = traceback
        self.doubt = doubt


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of an agent to a call.

    Attributes:
        response: its status, its headers, and its body as it comes.
        agent: the agent that was called.
        call: the signature of the call; None if the agent has no key.
        turns: of which the reading of a body takes one for each piece.
        patience: seconds after which the body of an error is not waited for any longer.
        token: the bearer token that the agent was sent; empty if there was none.
    """

    response: Response
    agent: Endpoint
    call: Signed | None
    turns: Turns
    patience: float
    token: str = ""

    def verify(self) -> Evidence | None:
        """Verify the signature, which covers the digest of the body, before the body is read.

        Returns what was signed; None if the agent has no key, and thus does not sign.

        Raises:
            AgentFailed: the answer has no signature, or one that does not fit.
        """
        if self.call is None or self.agent.public_key is None:
            return None
        headers = {name: self.response.header(name) for name in (SIGNATURE_INPUT, SIGNATURE)}
        if not all(headers.values()) or self._digest is None:
            raise AgentFailed("unsigned answer: the client has a public key, so its results have to be signed with it")
        components = answer_components(self.response.status, self.response.header(CONTENT_DIGEST), self.call)
        try:
            answer = check_answer(headers, components, key=self.agent.public_key)
        except WrongSignature as wrong:
            raise AgentFailed(f"wrong signature: {wrong}") from wrong
        return Evidence(call=self.call.base, answer=answer.base, signature=answer.written)

    def check_body(self, sha256: str) -> None:
        """Compare the body with the digest that came with it, if there is one; `sha256` is that of the body.

        Raises:
            AgentFailed: they differ.
        """
        if self._digest is not None and self._digest.hex() != sha256:
            reason = f"its answer was corrupted on the way: the body does not fit its {CONTENT_DIGEST}"
            raise AgentFailed(reason, kind="unreachable")

    async def complaint(self) -> Complaint:
        """Read the body of an error."""
        if (coding := coding_of(self.response)) != IDENTITY:
            return Complaint(f"a body in Content-Encoding {coding[:32]!r}, which is not accepted")
        return read_complaint(await self.beginning(), self.token)

    async def beginning(self) -> bytes:
        """Read the first bytes of a body, of which only the part counts that came within the time for it."""
        text = bytearray()
        with contextlib.suppress(*BROKEN):  # among them the time's end
            async with asyncio.timeout(self.patience):
                async for piece in self.response.body:
                    text += piece[: ERROR_BYTES - len(text)]
                    if len(text) >= ERROR_BYTES:
                        break
                    await self.turns.take()
        return bytes(text)

    @property
    def _digest(self) -> bytes | None:
        return read_digest(self.response.header(CONTENT_DIGEST))


async def health_of(answer: Answer) -> Health:
    """Read an answer to ``GET /healthz``, which an agent with a key has to sign."""
    status = answer.response.status
    if status != HTTPStatus.OK:
        if answer.agent.public_key is None:
            return Health(alive=False, silence=f"the agent answered {status}")
        said = f"the agent answered {status}: {(await answer.complaint()).text}".removesuffix(": ")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return Health(alive=False, doubt=said)
        return Health(alive=False, silence=said)
    try:
        if answer.verify() is not None:
            answer.check_body(hashlib.sha256(await answer.beginning()).hexdigest())
    except AgentFailed as error:
        return Health(alive=False, doubt=str(error))
    return Health(alive=True)


def unforeseen(error: Exception) -> AgentFailed:
    """Make the failure of an answer that raised an unexpected error. It fails its own client and no other."""
    log.error("an agent's answer could not be read", exc_info=error)
    return AgentFailed(f"its answer could not be read ({type(error).__name__})")
