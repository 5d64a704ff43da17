"""Whether one device gives a client's signs of life, or several that share its id.

A sign of life names who gave it: the agent's instance, which is random for each process, or, of an agent that does not
say, the address that it registers. An agent that starts again takes the place of the one before, which is not heard of
any more. One that is heard of again after another has taken its place is a second device: a conflict, which operators
are told of and which nothing acts on. It is over when only one of them has been heard of for a while.
"""

from dataclasses import dataclass, replace

REMEMBERED = 3  # agents that were heard of last
PATIENCE = 3  # intervals between signs of life, after which an agent is taken for gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """An agent that gave a sign of life, the last one at `at` (unix seconds)."""

    instance: str | None
    url: str | None
    at: float

    @property
    def who(self) -> str | None:
        """What tells this agent from others."""
        return self.url if self.instance is None else self.instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Agents that give signs of life in turn, since when and until when (unix seconds): the latest one first."""

    since: float
    last_at: float
    urls: tuple[str, ...]
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The agents that were last heard of under a client's id, the latest first, and the conflict between them."""

    sightings: tuple[Sighting, ...] = ()
    conflict: Conflict | None = None

    def seen(self, now: float, *, instance: str | None, url: str | None, interval: float) -> "Identity":
        """The identity after a sign of life at `now`, one being due every `interval` seconds.

        `url` is None in a heartbeat. Without an instance a heartbeat says nothing of who gave it. Agents that name no
        instance are in conflict where they register in turn within one interval: a device that moves once is not.
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
        return Identity(sightings=(sighting, *others)[:REMEMBERED], conflict=conflict)
