"""Run agents: listen, register, send heartbeats, and stop on a signal."""

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import httpx2

from tcsfeel.agent.app import MAX_BODY_BYTES, Agent
from tcsfeel.agent.connecting import is_loopback, is_on_this_machine, secured
from tcsfeel.agent.enrolment import enrolled
from tcsfeel.agent.errors import AgentError, CannotListen
from tcsfeel.agent.fetching import Fetching
from tcsfeel.agent.host import AgentHost, check_client_id, local_directory
from tcsfeel.agent.labels import LabelReleases
from tcsfeel.agent.membership import registered
from tcsfeel.agent.registration import Member
from tcsfeel.agent.relaying import Relaying
from tcsfeel.agent.running import run
from tcsfeel.agent.signing import Signing, path_of
from tcsfeel.agent.trainer import Trainer

HEARTBEAT_SECONDS = 10.0
Arguments = ParamSpec("Arguments")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hosting:
    """The result of `hosting`: the app with its agents, its base URL (empty if they pull), and its members."""

    host: AgentHost
    url: str
    members: Mapping[str, Member]


def serve(
    trainer: Trainer,
    *,
    client_id: str,
    server_url: str | None,
    api_key: str | None = None,
    invite: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    signing: Signing | None = None,
    advertise_url: str | None = None,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    max_body_bytes: int = MAX_BODY_BYTES,
    label_privacy: float | None = None,
    state: Path | None = None,
    ca_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    pull: bool | None = None,
    relay: bool = False,
) -> None:
    """Serve one trainer until SIGINT or SIGTERM.

    Args:
        trainer: the trainer to serve.
        client_id: the id to register under.
        server_url: the control plane's base URL; None does not register.
        api_key: a key of the control plane. None takes the key that the client got when it enrolled, if it has one.
        invite: the secret of an invitation, with which the client enrols if it has no valid key.
        host: address to listen on.
        port: 0 takes any free one.
        token: bearer token that the control plane must present; by default a random one for this process.
        signing: the keys of an agent with an identity, which takes only signed calls and signs its results. Clients
            that enrol have their own.
        advertise_url: the base URL under which the control plane reaches this agent, if that is not host and port.
        heartbeat_seconds: pause between heartbeats.
        max_body_bytes: the largest task that is accepted.
        label_privacy: as in `Profile`, which sets it for one trainer. The smaller epsilon counts.
        state: directory where label counts with noise are kept, so that a restart sends the same ones, the tensors
            that a training leaves on the device, and the keys of clients that enrol. Such clients have the directory
            ``tcsfeel`` of this user's state by default.
        ca_file: authorities (PEM) with which the control plane is checked, in place of those of the system.
        tls_cert: a file with the agent's own certificate (PEM, with those that lead to an authority that the control
            plane trusts), to serve HTTPS.
        tls_key: the file with the private key of that certificate.
        pull: whether the agent asks for its tasks and is never called, so that it needs no address. None decides that:
            it does if it has a key of its own, and the control plane is elsewhere and was given no address.
        relay: whether the agent relays updates in trainings with the topology ``relay``: it then sees the updates of
            other clients, and lets another agent see its own.

    Raises:
        AgentError: `client_id`, `server_url`, `invite` or `label_privacy` cannot be one, or the certificate cannot be
        used. CannotListen: it is not possible to listen on the address. EnrolmentRefused, RegistrationRefused: the
        control plane refuses this client.
    """
    check_client_id(client_id)
    LabelReleases(state, label_privacy)  # a wrong epsilon is noticed before anything waits for the control plane
    tls = secured(tls_cert, tls_key)

    async def work() -> None:
        own = await enrolled(
            [client_id], server_url=server_url, api_key=api_key, invite=invite, state=state, ca_file=ca_file
        )
        labels = LabelReleases(own.state, label_privacy)
        agent = Agent(
            trainer,
            token=token or secrets.token_urlsafe(32),
            signing=signing or own.signing(client_id),
            max_body_bytes=max_body_bytes,
            local_directory=local_directory(own.state, client_id),
            relaying=Relaying(ca_file=ca_file) if relay else None,
            fetching=Fetching(ca_file),
        )
        pulls = _pulls(pull, own.key(client_id), server_url, host, advertise_url)
        async with _listening(agent, host, port, tls, pulls=pulls) as url:
            member = _member(client_id, agent, url and _advertised(advertise_url, url), own.key(client_id))
            with _closing(agent):
                async with registered(
                    [member],
                    server_url,
                    api_key,
                    heartbeat_seconds=heartbeat_seconds,
                    labels=labels,
                    ca_file=ca_file,
                    agents={client_id: agent},
                ):
                    does = f"answers at {member.url}" if member.url else f"asks {server_url} for its tasks"
                    _log.info("client %s %s", client_id, does, extra={"client_id": client_id})
                    await asyncio.Event().wait()

    run(work())


@asynccontextmanager
async def hosting(
    trainers: Mapping[str, Trainer],
    *,
    server_url: str | None,
    api_key: str | None = None,
    invite: str | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tokens: Mapping[str, str] | None = None,
    signings: Mapping[str, Signing] | None = None,
    advertise_url: str | None = None,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    threads: int | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
    label_privacy: float | None = None,
    state: Path | None = None,
    ca_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    pull: bool | None = None,
    relay: bool = False,
) -> AsyncIterator[Hosting]:
    """Serve a trainer for each client id in a program with its own event loop, under ``/agents/{id}``, in the block.

    `tokens` and `signings` are by client id; tokens are random for ids without one. `threads` is how many agents train
    at the same time. `advertise_url` is the base URL of all agents. The other arguments are those of `serve`.
    """
    tls = secured(tls_cert, tls_key)
    own = await enrolled(
        list(trainers), server_url=server_url, api_key=api_key, invite=invite, state=state, ca_file=ca_file
    )
    labels = LabelReleases(own.state, label_privacy)
    app = AgentHost(threads=threads, max_body_bytes=max_body_bytes, state=own.state)
    relaying, fetching = Relaying(ca_file=ca_file) if relay else None, Fetching(ca_file)
    for client_id, trainer in trainers.items():
        token = (tokens or {}).get(client_id) or secrets.token_urlsafe(32)
        signing = (signings or {}).get(client_id) or own.signing(client_id)
        app.add(client_id, trainer, token=token, signing=signing, relaying=relaying, fetching=fetching)
    pulls = _pulls(pull, next(map(own.key, trainers), None), server_url, host, advertise_url)
    async with _listening(app, host, port, tls, pulls=pulls) as url:
        base = url and _advertised(advertise_url, url)
        members = {
            client_id: _member(client_id, agent, base and base + app.path(client_id), own.key(client_id))
            for client_id, agent in app.agents.items()
        }
        with _closing(app):
            async with registered(
                list(members.values()),
                server_url,
                api_key,
                heartbeat_seconds=heartbeat_seconds,
                labels=labels,
                ca_file=ca_file,
                agents=app.agents,
            ):
                _log.info("%d clients %s", len(members), f"answer at {base}" if base else f"ask {server_url} for tasks")
                yield Hosting(app, url or "", members)


def _until_told(block: Callable[Arguments, AbstractAsyncContextManager[object]]) -> Callable[Arguments, None]:
    """Make a function that runs an empty block until SIGINT or SIGTERM."""

    @wraps(block, updated=())
    def serving(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        async def work() -> None:
            async with block(*args, **kwargs):
                await asyncio.Event().wait()

        run(work())

    return serving


serve_many = _until_told(hosting)
serve_many.__doc__ = "Do what `hosting` does in a process of its own, until SIGINT or SIGTERM."
serve_many.__name__ = serve_many.__qualname__ = "serve_many"


@asynccontextmanager
async def _listening(
    app: Agent | AgentHost, host: str, port: int, tls: ssl.SSLContext | None, *, pulls: bool
) -> AsyncIterator[str | None]:
    """Serve an app while the block runs, and yield its base URL. Agents that pull are not served, and have none."""
    if pulls:
        yield None
    else:
        from tcsfeel.agent.listening import listening  # noqa: PLC0415  (a device that pulls needs no server)

        async with listening(app, host, port, tls) as url:
            yield url


def _pulls(pull: bool | None, key: str | None, server_url: str | None, host: str, advertise_url: str | None) -> bool:
    """Tell whether agents pull: as they were told, or because no control plane elsewhere could call them."""
    if server_url is None:
        if pull:
            raise AgentError("an agent that pulls needs the URL of its control plane")
        return False
    if pull is not None:
        return pull
    return key is not None and advertise_url is None and is_loopback(host) and not is_on_this_machine(server_url)


def _member(client_id: str, agent: Agent, url: str | None, key: str | None) -> Member:
    agent.public_path = None if url is None else path_of(url)
    token = None if url is None else agent.token
    return Member(client_id, url, token, agent.trainer, key, relay=agent.relaying is not None)


@contextlib.contextmanager
def _closing(app: Agent | AgentHost) -> Iterator[None]:
    """Ends long-polls before the server waits for its connections."""
    try:
        yield
    finally:
        app.close()


def _advertised(advertise_url: str | None, url: str) -> str:
    if advertise_url is not None:
        return advertise_url.rstrip("/")
    bound = httpx2.URL(url)
    if bound.host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not bound)
        raise CannotListen(
            bound.host, bound.port or 0, "a wildcard address cannot be reached: set the URL to advertise"
        )
    return url
