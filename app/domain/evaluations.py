"""The evaluations of a round's new model: which clients can measure it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from app.domain.clients import Client
from app.domain.rounds import Participation
from tcsfeel.text import listed

NOTHING_HELD_OUT = "it has no held-out examples"


def able_to_evaluate(
    offered: Iterable[Client], tags: Mapping[str, str], now: float
) -> tuple[list[Client], list[tuple[str, str]]]:
    """Divide clients into those that may measure a model and the ids of the others, each with the reason."""
    able: list[Client] = []
    out: list[tuple[str, str]] = []
    for client in offered:
        reason = _why_not(client, tags, now)
        if reason is None:
            able.append(client)
        else:
            out.append((client.id, reason))
    return able, out


def _why_not(client: Client, tags: Mapping[str, str], now: float) -> str | None:
    if client.breaker.state != "closed":
        return client.breaker.explanation
    for key, value in tags.items():
        if client.profile.tags.get(key) != value:
            return f"its tag {key} is not {value}"
    if not client.may_hold_out_data:
        return NOTHING_HELD_OUT
    if not client.may_evaluate(now):
        failures = client.failures
        return f"its last {failures.wrong_evaluations} evaluations were wrong (the last: {failures.last_faulty})"
    return None


def not_measured(evaluations: Sequence[Participation], out: Sequence[tuple[str, str]]) -> str | None:
    """Explain why a round has no measurement of its model; None if it has one. `out` has those that were not asked."""
    if any(one.status == "received" for one in evaluations):
        return None
    if evaluations:
        missing = listed((one.client_id, one.reason or "it has not answered") for one in evaluations)
        return f"none of {len(evaluations)} clients measured the model; {missing}"
    return f"no client could be asked to measure the model{'; ' if out else ''}{listed(out)}"


def drawn(able: Sequence[Client], wanted: int, seed: int) -> list[Client]:
    """Return at most `wanted` of the clients in their order, drawn with the round's seed: the same ones each time."""
    if len(able) <= wanted:
        return list(able)
    chosen = np.random.default_rng([seed, 1]).choice(len(able), wanted, replace=False)
    return [able[index] for index in sorted(chosen)]
