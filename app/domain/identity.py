"""Find out whether one device sends a client's signs of life, or several devices that use the same id.

A sign of life is identified by the agent's instance, which is random for each process, or, if the agent names none, by
the address that it registers. An agent that restarts replaces the previous process, which then sends nothing more. If
an agent that was replaced sends a sign of life again, there is a second device. This is a conflict, which operators can
see but on which the server does not act. It is over when only one of the agents has sent signs of life for a while.
"""

from dataclasses import dataclass, replace

REMEMBERED = 3  # agents that sent signs of life last
PATIENCE = 3  # intervals between signs of life, after which an agent counts as gone


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
class Identity:
    """The agents that sent signs of life under a client's id last, the latest first, and the conflict between them."""

    sightings: tuple[Sighting, ...] = ()
    conflict: Conflict | None = None

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
        return Identity(sightings=(sighting, *others)[:REMEMBERED], conflict=conflict)
