"""Know the device behind a client: whether several devices use its id, and whether its address is that of its device.

**Several devices.** One device may send a client's signs of life, or several devices that use the same id.

A sign of life is identified by the agent's instance, which is random for each process, or, if the agent names none, by
the address that it registers. An agent that restarts replaces the previous process, which then sends nothing more. If
an agent that was replaced sends a sign of life again, there is a second device. This is a conflict, which operators can
see but on which the server does not act. It is over when only one of the agents has sent signs of life for a while.

**Proof of an address.** A client whose device has a key is given no tasks until its address has answered a call with a
signature of that key. The proof is of one address and one key; another address, or another key, has to be proved anew.
"""

from dataclasses import dataclass, replace

REMEMBERED = 3  # agents that sent signs of life last
PATIENCE = 3  # intervals between signs of life, after which an agent counts as gone

SHUT_OUT = "shut out: the key of its agent was revoked, and it has got no other since"
UNPROVEN = "unproven: its address has not yet answered with a signature of its device"
DOUBTED = "unproven: its address has answered without a valid signature of its device"
SILENT = "unproven: its address could not be asked for a signature of its device"


def without_quotation(unproven: str) -> str:
    """Return why a client is given no tasks, without what its address has answered, and how it failed to answer."""
    if unproven in {SHUT_OUT, UNPROVEN}:
        return unproven
    return SILENT if unproven.startswith(SILENT) else DOUBTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An agent that gave a sign of life, the last one at `at` (unix seconds)."""

    instance: str | None
    url: str | None
    at: float

    @property
    def who(self) -> str | None:
        """Return what identifies this agent."""
        return self.url if self.instance is None else self.instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A conflict between agents that use one id, the latest agent first, and its begin and end in unix seconds."""

    since: float
    last_at: float
    urls: tuple[str, ...]
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """An address that answered with a signature of a device's key, at `at` (unix seconds)."""

    url: str
    public_key: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An address that has not signed with a device's key when it was asked to, since `since` (unix seconds), and why.

    Attributes:
        answered: whether it has answered, without a valid signature. Else it is refused, or did not answer.
    """

    url: str
    public_key: str
    since: float
    reason: str
    answered: bool = True

    def __str__(self) -> str:
        return f"unproven: {self.reason}" if self.answered else f"{SILENT}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is known of the devices that use a client's id.

    Attributes:
        sightings: the agents that sent signs of life last, the latest first.
        conflict: the conflict between them.
        proof: the address that belongs to the device with the client's key.
        doubt: the last address that gave no valid signature when it was asked for one; None if it has given one since.
        shut_out: whether the last valid key of its agent was revoked, and it has got no other since.
    """

    sightings: tuple[Sighting, ...] = ()
    conflict: Conflict | None = None
    proof: Proof | None = None
    doubt: Doubt | None = None
    shut_out: bool = False

    def is_proved(self, url: str, public_key: str) -> bool:
        """Tell whether this address has answered with a signature of this key."""
        return self.proof is not None and (self.proof.url, self.proof.public_key) == (url, public_key)

    def doubt_about(self, url: str, public_key: str) -> Doubt | None:
        """Return the doubt whether this address belongs to the device with this key."""
        doubt = self.doubt
        return doubt if doubt is not None and (doubt.url, doubt.public_key) == (url, public_key) else None

    def answered(self, url: str, public_key: str, doubt: str | None, now: float) -> "Identity":
        """Return the identity after an address was asked for a signature of a key, and there is a `doubt` or none.

        An address that was proved and gives no valid signature any more has to be proved again.
        """
        if doubt is not None:
            known = self.doubt_about(url, public_key)
            if known is not None and known.answered:
                return self
            proof = None if self.is_proved(url, public_key) else self.proof
            return replace(self, proof=proof, doubt=Doubt(url=url, public_key=public_key, since=now, reason=doubt))
        if self.is_proved(url, public_key):
            return replace(self, doubt=None) if self.doubt is not None else self
        return replace(self, proof=Proof(url=url, public_key=public_key, at=now), doubt=None)

    def unanswered(self, url: str, public_key: str, reason: str, now: float) -> "Identity":
        """Return the identity after an address could not be asked for a signature of a key, for a `reason`.

        That says nothing against an address that was proved.
        """
        known = self.doubt_about(url, public_key)
        if self.is_proved(url, public_key) or (known is not None and not known.answered and known.reason == reason):
            return self
        silent = Doubt(url=url, public_key=public_key, since=now, reason=reason, answered=False)
        return replace(self, doubt=silent)

    def seen(self, now: float, *, instance: str | None, url: str | None, interval: float) -> "Identity":
        """The identity after a sign of life at `now`, one being due every `interval` seconds.

        `url` is None in a heartbeat. A heartbeat without an instance does not identify its sender. Agents that name no
        instance are in conflict if they register in turn within one interval; a device that moves once is not in
        conflict.
        """
        sighting = Sighting(instance=instance, url=url, at=now)
        if sighting.who is None:
            return self
        gone = now - PATIENCE * interval
        conflict = None if self.conflict is None or self.conflict.last_at < gone else self.conflict
        before = next((known for known in self.sightings if known.who == sighting.who), None)
        if before is not None and url is None:
            sighting = replace(sighting, url=before.url)
        others = [known for known in self.sightings if known.who != sighting.who and known.at >= gone]
        alive = before is not None and before.at >= (gone if instance else now - interval)
        if alive and before != self.sightings[0]:
            both = (sighting, self.sightings[0])
            conflict = Conflict(
                since=now if conflict is None else conflict.since,
                last_at=now,
                urls=tuple(agent.url for agent in both if agent.url is not None),
                instances=tuple(agent.instance for agent in both if agent.instance is not None),
            )
        return replace(self, sightings=(sighting, *others)[:REMEMBERED], conflict=conflict)
