"""Compare what callers saw, good and hostile ones, and what the audit trail says of them, with what must hold."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.harnesses.hostile.kinds import CALLERS, NEIGHBOUR, address_of
from tests.harnesses.hostile.outcome import Outcome

SLOWER = 1.20  # the 99th percentile of a good caller's times in attacks, divided by that in calm times
NOTABLE_SECONDS = 0.010  # a smaller difference is not one
OF_ANY = {"408", "429", "cut", "refused", "silent"}  # what every caller may see that is slow, or calls too often
HERE = "127.0.0.1"
SILENT = {408, 429}  # of connections that send nothing, or that are too many


def of_callers(outcome: Outcome) -> Iterator[str]:
    """Yield problems if a hostile caller got an answer that it must not get, or none."""
    for name, kind in CALLERS.items():
        seen = outcome.seen.get(name)
        if seen is None:
            yield f"{name} never got an end"
            continue
        for what, count in seen.items():
            status = what.split(" ")[0]
            if status == "silent":
                yield f"{name} was left without an answer {count} times"
            elif status.startswith("5") and not what.startswith("503 "):
                yield f"{name} got {what} {count} times"
            elif kind.answers and status not in kind.answers | OF_ANY | {"503"}:
                yield f"{name} got {what} {count} times instead of {' or '.join(sorted(kind.answers))}"


def of_audit(outcome: Outcome) -> Iterator[str]:
    """Yield problems if no record of the audit trail names the address of a kind of hostile callers and its status."""
    recorded = Counter(record["address"] for record in outcome.audit if record["status"])
    for name, kind in CALLERS.items():
        if kind.at_agents or name == NEIGHBOUR or not _was_refused(outcome, name):
            continue
        if not recorded[address_of(name)]:
            yield f"no audit record names {name}, which called from {address_of(name)}"
    here = any(record["address"] == HERE and record["status"] in SILENT for record in outcome.audit)
    if NEIGHBOUR in outcome.seen and not here:
        yield f"no audit record names {NEIGHBOUR}, which connected from {HERE}"


def _was_refused(outcome: Outcome, name: str) -> bool:
    """Tell whether a caller saw anything but good answers, of which reads and heartbeats have no records."""
    return any(not what.startswith("2") for what in outcome.seen.get(name, ()))


def percentiles(outcome: Outcome) -> tuple[float, float]:
    """Return the 99th percentiles of the seconds that a good caller waited, in calm times and in attacks."""
    times: dict[bool, list[float]] = {False: [], True: []}
    for at, seconds in outcome.asked:
        for period in outcome.periods:
            if period.start <= at < period.end:
                times[period.hostile].append(seconds)
    return _percentile(times[False]), _percentile(times[True])


def _percentile(times: Sequence[float]) -> float:
    return sorted(times)[int(0.99 * len(times))] if times else 0.0


def of_good_callers(outcome: Outcome) -> Iterator[str]:
    """Yield problems if an attack makes the calls of a good caller slow."""
    calm, attacked = percentiles(outcome)
    if attacked > SLOWER * calm and attacked - calm > NOTABLE_SECONDS:
        yield f"the slowest hundredth of good calls took {attacked * 1000:.0f} ms, {calm * 1000:.0f} ms in calm times"
