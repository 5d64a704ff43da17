"""Define the answers of agents, and how a transport gives them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from app.services.tasks.requests import Request


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request, whose body is read as it comes.

    Attributes:
        headers: their values by their names in lower case. Several with one name are joined by commas.
        body: the blocks of the body, each of which is valid until the next one is asked for.
        close: gives the connection back. Call it in any case, and once only.
        length: how many bytes the body has, if the agent has said it.
    """

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[memoryview]
    close: Callable[[], Awaitable[None]]
    length: int | None = None

    def header(self, name: str) -> str:
        """Return the value of a header; an empty text if there is none."""
        return self.headers.get(name.lower(), "")


Ask = Callable[[Request], Awaitable[Response]]
"""Makes one exchange with an agent."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The proof that a connection leads to the device with a key.

    Attributes:
        key: the public key of the device.
        give: asks for the proof over that connection, and raises an error if there is none.
    """

    key: str
    give: Callable[[Ask], Awaitable[None]]


class Transport(Protocol):
    """Exchanges requests and responses with agents."""

    async def exchange(self, request: Request, proof: Proof | None = None) -> Response:
        """Send a request, and return the response as soon as its head has come.

        With a `proof`, it is sent only over a connection for which that has been given.

        Raises errors of `BROKEN`, ValueError for the URL, an OSError that `is_ours` if this machine has no descriptors
        or memory for a connection, and what the `proof` raises.
        """

    async def close(self) -> None:
        """Close all connections. Callers have to end the calls that are under way."""
