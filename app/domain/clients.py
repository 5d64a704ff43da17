"""A registered client: its claims, its measurements, and its health."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from app.domain.breaker import Breaker
from app.domain.failures import Failure, Failures
from app.domain.identity import SHUT_OUT, UNPROVEN, Identity
from app.domain.invitations import Enrolment
from tcsfeel.errors import Invalid
from tcsfeel.selection.types import Candidate, DataDistribution

ClientStatus = Literal["healthy", "suspect", "down"]

SMOOTHING = 0.3  # weight of the newest observation in a moving average


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a client claims about itself. Units are those of `Candidate`.

    `url` is the agent's base URL. It is None if the agent pulls: it asks for its tasks, and is never called.
    `auth_token` is the token that the agent expects, encrypted as it is stored (`app/services/access/tokens.py`).
    `relay` says whether its agent relays the updates of other clients, and lets others relay its own. `elastic` says
    whether its trainer follows the `local_epochs` of each task.
    """

    url: str | None = None
    data_size: int
    compute_capacity: float
    bandwidth: float
    latency: float
    data_distribution: DataDistribution | None = None
    reliability: float = 0.9
    server_cost: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    auth_token: str | None = field(default=None, repr=False)
    relay: bool = True
    elastic: bool = False

    def changed(self, changes: Mapping[str, Any]) -> "Profile":
        """The profile with `changes` made to it.

        If the agent's address changes and no new token comes with it, the token is removed, because a token that was
        given for one host must not be sent to another.

        Raises:
            Invalid: the changes have a token, and the agent has no address.
        """
        after = replace(self, **changes)
        if after.url is None and changes.get("auth_token") is not None:
            raise Invalid("/auth_token", "is sent only to an agent with a url, and this agent pulls its tasks")
        moved = _origin(after.url) != _origin(self.url)
        return replace(after, auth_token=None) if moved and "auth_token" not in changes else after


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the agent of a client is called.

    Attributes:
        url: its base URL; None if it pulls, so that it cannot be called.
        auth_token: what authorizes calls of it.
        public_key: the key with which it signs its results; None if it does not sign.
        client_id: the client that it belongs to.
    """

    url: str | None
    auth_token: str | None = field(default=None, repr=False)
    public_key: str | None = None
    client_id: str = ""

    @property
    def pulls(self) -> bool:
        """Tell whether the agent asks for its tasks, and is never called."""
        return self.url is None


@dataclass(frozen=True, slots=True)
class Health:
    """What a call of an agent's ``/healthz`` has found.

    Attributes:
        alive: whether the agent is able to train; of a client with a key also whether it has signed that.
        doubt: why the agent cannot be the one that has the client's key; None if it is, or if it did not answer.
        silence: why the agent did not answer, or what is wrong on its way; None if it did answer.
    """

    alive: bool
    doubt: str | None = None
    silence: str | None = None


def _origin(url: str | None) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url or "")
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurements of a client, most of them as moving averages; None before the first. They replace its claims.

    Attributes:
        reliability: share of its tasks that it finished, 0..1.
        train_seconds: seconds for one fit.
        bandwidth: Mbps.
        latency: ms.
        last_update_quality: `update_quality` of its updates, 0..1.
        no_held_out_data_at: when it last answered an evaluation that it has no held-out examples, unix seconds.
        relaying: share of its children's updates that it brought when it was a relay, 0..1.
    """

    reliability: float | None = None
    train_seconds: float | None = None
    bandwidth: float | None = None
    latency: float | None = None
    last_update_quality: float | None = None
    no_held_out_data_at: float | None = None
    relaying: float | None = None

    def observe(self, **values: float | None) -> "Measured":
        """Add new observations to the averages. None means that there is no observation."""
        seen = {name: value for name, value in values.items() if value is not None}
        return replace(self, **{name: moving_average(getattr(self, name), value) for name, value in seen.items()})


def moving_average(average: float | None, observation: float) -> float:
    """Update an exponential moving average with `SMOOTHING`, which starts with the first observation."""
    return observation if average is None else average + SMOOTHING * (observation - average)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A participant as the control plane knows it. Instants are unix seconds.

    If its device has enrolled, `public_key` is that of the device, and `invitation_id` the invitation that it used at
    `enrolled_at`. Otherwise the three are None.
    """

    id: str
    profile: Profile
    created_at: float
    updated_at: float
    status: ClientStatus = "healthy"
    measured: Measured = field(default_factory=Measured)
    breaker: Breaker = field(default_factory=Breaker)
    failures: Failures = field(default_factory=Failures)
    identity: Identity = field(default_factory=Identity)
    rounds_selected: int = 0
    rounds_completed: int = 0
    last_seen_at: float | None = None
    public_key: str | None = None
    invitation_id: str | None = None
    enrolled_at: float | None = None

    def of_device(self, enrolment: Enrolment | None) -> "Client":
        """Return the client as it belongs to the device that has enrolled under its id, if one has.

        The tags of the invitation take the place of tags with the same names, which the device may have chosen.
        """
        if enrolment is None:
            return self
        return replace(
            self,
            profile=replace(self.profile, tags={**self.profile.tags, **enrolment.tags}),
            public_key=enrolment.public_key,
            invitation_id=enrolment.invitation_id,
            enrolled_at=enrolment.enrolled_at,
        )

    def kept_out(self) -> "Client":
        """Return the client whose agent has no valid key any more, because its last one was revoked."""
        return replace(self, identity=replace(self.identity, shut_out=True))

    def let_in(self) -> "Client":
        """Return the client with an agent that has a valid key, and so gets tasks again if it was shut out."""
        return replace(self, identity=replace(self.identity, shut_out=False)) if self.identity.shut_out else self

    @property
    def endpoint(self) -> Endpoint:
        """How its agent is called."""
        return Endpoint(self.profile.url, self.profile.auth_token, self.public_key, self.id)

    @property
    def has_to_prove(self) -> bool:
        """Tell whether its address has to answer with a signature of its device before it gets tasks.

        An agent that pulls has no address. It shows whose it is by the key that it calls with.
        """
        key, url = self.public_key, self.profile.url
        return not (key is None or url is None or self.identity.shut_out or self.identity.is_proved(url, key))

    @property
    def unproven(self) -> str | None:
        """Why it is given no tasks: its agent was shut out, or its address has not proved to be that of its device.

        It may quote what the address has answered; `app.domain.identity.without_quotation` does not.
        """
        if self.identity.shut_out:
            return SHUT_OUT
        if self.public_key is None or self.profile.url is None or not self.has_to_prove:
            return None
        doubt = self.identity.doubt_about(self.profile.url, self.public_key)
        return UNPROVEN if doubt is None else str(doubt)

    def identified(self, called: Endpoint, health: Health, now: float) -> "Client":
        """Return the client after an address was called, which had to sign its answer.

        Nothing changes if the client has another address or another key by now.
        """
        key = self.public_key
        if key is None or called.url is None or (called.url, called.public_key) != (self.profile.url, key):
            return self
        if health.silence is not None:
            identity = self.identity.unanswered(called.url, key, health.silence, now)
            return replace(self, identity=identity) if identity != self.identity else self
        if not health.alive and health.doubt is None:
            return self
        return replace(self, identity=self.identity.answered(called.url, key, health.doubt, now))

    def observed(
        self, *, reliability: float | None = None, relaying: float | None = None, **values: float | None
    ) -> "Client":
        """The client with observations folded into its averages, None for what was not observed.

        The average of its reliability starts from its claim, and that of its relaying from 1, because one outcome, good
        or bad, proves little.
        """
        measured = self.measured
        if relaying is not None and measured.relaying is None:
            measured = replace(measured, relaying=1.0)
        if reliability is not None and measured.reliability is None:
            measured = replace(measured, reliability=self.profile.reliability)
        return replace(self, measured=measured.observe(reliability=reliability, relaying=relaying, **values))

    def failed(self, failure: Failure, now: float, rng: random.Random) -> "Client":
        """Return the client after a call that failed. The failure gets its instant here."""
        breaker = self.breaker.fail(now, rng, failure=failure) if failure.shuts_out else self.breaker
        return replace(self, breaker=breaker, failures=self.failures.counted(failure.shown(now)))

    def reset(self) -> "Client":
        """Return the client after its breaker was closed by hand. It may be asked to evaluate again, too."""
        return replace(self, breaker=self.breaker.reset(), failures=self.failures.evaluated())

    def may_evaluate(self, now: float) -> bool:
        """Whether it may be asked to evaluate: it may have data for it, and rests from no wrong evaluations.

        A profile that was registered since then begins anew.
        """
        failures = self.failures
        again_at = failures.evaluates_again_at()
        rests = again_at is not None and now < again_at
        if rests and failures.last_faulty is not None and failures.last_faulty.at < self.updated_at:
            rests = False
        return self.may_hold_out_data and not rests

    @property
    def may_hold_out_data(self) -> bool:
        """Whether it may be asked to evaluate: it has not reported a lack of data since its profile was registered."""
        said_at = self.measured.no_held_out_data_at
        return said_at is None or said_at < self.updated_at

    def without_held_out_data(self, now: float) -> "Client":
        """Return the client after it has answered that it has no held-out examples."""
        return replace(self, measured=replace(self.measured, no_held_out_data_at=now))

    def withdrawn(self) -> "Client":
        """Return the client as it was before its last update was received, which turned out to be unusable."""
        reliability = self.measured.reliability
        if reliability is not None:
            reliability = max(0.0, (reliability - SMOOTHING) / (1.0 - SMOOTHING))
        return replace(
            self,
            measured=replace(self.measured, reliability=reliability),
            breaker=self.breaker.withdraw(),
            rounds_completed=max(0, self.rounds_completed - 1),
        )

    def candidate(self) -> Candidate:
        """Return the client as selection sees it: with its measurements, and with its claims where it has none."""
        profile, measured = self.profile, self.measured
        return Candidate(
            client_id=self.id,
            data_size=profile.data_size,
            data_distribution=profile.data_distribution,
            compute_capacity=profile.compute_capacity,
            bandwidth=profile.bandwidth if measured.bandwidth is None else measured.bandwidth,
            latency=profile.latency if measured.latency is None else measured.latency,
            reliability=profile.reliability if measured.reliability is None else measured.reliability,
            server_cost=profile.server_cost,
            train_seconds=measured.train_seconds,
            update_quality=measured.last_update_quality,
        )
