"""Compare what was seen in attacks with what must hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from tests.e2e.servers import unhandled_in
from tests.harnesses.hostile.agents import ALL, ENDLESS, EVALUATE, FIT, HEALTHZ, MODEL, REVOKED, SIGNED, UNPROVEN
from tests.harnesses.hostile.fleets import HONEST, SMALL
from tests.harnesses.hostile.judgement_of_callers import of_audit, of_callers, of_good_callers, percentiles
from tests.harnesses.hostile.kinds import CALLERS
from tests.harnesses.hostile.outcome import MIB, Outcome, Period

HELD_SECONDS = 0.050
MEMORY_BYTES = 64 * MIB
SLOWER = 1.20  # the time of the quiet fleet's rounds divided by that in calm times
MODELS_IN_FLIGHT = 2  # times the bytes of the models in transfer, which may be on the disk
OPERATOR_SECONDS = 2.0
REASON_LETTERS = 1000
LOG_LINES = 20_000
QUIET_MODEL_BYTES = 1_000_200

Instant = float


def problems(outcome: Outcome) -> list[str]:
    """Return a line for everything that must not happen."""
    if outcome.gone is not None:
        return [f"the server does not answer any more: {outcome.gone}"]
    return [
        *_server(outcome),
        *_quiet(outcome),
        *of_rounds(outcome),
        *of_devices(outcome),
        *of_callers(outcome),
        *of_audit(outcome),
        *of_good_callers(outcome),
    ]


def _server(outcome: Outcome) -> Iterator[str]:
    long = [held for held in outcome.holds if held > HELD_SECONDS]
    if long:
        yield f"the loop was held {len(long)} times for more than 50 ms, {long[0] * 1000:.0f} ms at most"
    grown = memory_growth(outcome)
    if grown > MEMORY_BYTES:
        yield f"memory grew by {grown / MIB:.0f} MiB"
    most, allowed = disk(outcome)
    if most > allowed:
        yield f"the spools held {most / MIB:.1f} MiB, {allowed / MIB:.1f} are allowed"
    if outcome.left:
        yield f"the spools held {outcome.left} bytes after all rounds had ended"
    slow = [seconds for seconds in outcome.health if seconds > OPERATOR_SECONDS]
    if slow:
        yield f"{len(slow)} of {len(outcome.health)} calls of GET /healthz were slow, {max(slow):.1f} s at most"
    if outcome.refused:
        yield f"{len(outcome.refused)} heartbeats were refused: {sorted(set(outcome.refused))}"
    if outcome.log.count("\n") > LOG_LINES:
        yield f"the log has {outcome.log.count(chr(10))} lines"
    if "\x1b" in outcome.log or "\0" in outcome.log:
        yield "the log holds control characters"
    yield from (f"log: {line[:300]}" for line in unhandled_in(outcome.log)[:10])
    if outcome.status not in {0, -15}:
        yield f"the server ended with status {outcome.status}"


def memory_growth(outcome: Outcome) -> int:
    """Return the bytes by which the peak in the attacks is above that in the calm time before them."""
    first = outcome.periods[0]
    before = max(sample.memory for sample in outcome.samples if sample.at < first.end)
    return max(sample.memory for sample in outcome.samples if _in_an_attack(outcome, sample.at)) - before


def disk(outcome: Outcome) -> tuple[int, int]:
    """Return the most bytes that were in the spools during an attack, and how many are allowed."""
    most = max(sample.disk for sample in outcome.samples if _in_an_attack(outcome, sample.at))
    small = (len(FIT) + len(EVALUATE) + len(SIGNED) + 3 * HONEST) * (4 * SMALL + 200)
    return most, MODELS_IN_FLIGHT * (small + 6 * QUIET_MODEL_BYTES)


def _in_an_attack(outcome: Outcome, at: Instant) -> bool:
    return any(period.hostile and period.start <= at < period.end for period in outcome.periods)


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of the quiet fleet in one period.

    Attributes:
        seconds: the median duration of its rounds.
        processor: the seconds of processor time that the server used for each round, with everything else that it did.
        share: the share of a core that the server used.
    """

    seconds: float
    processor: float
    share: float


def pace(outcome: Outcome, period: Period) -> Pace:
    """Return the pace of the quiet fleet in a period."""
    took: list[float] = []
    for value in outcome.quiet:
        if value["status"] != "completed":
            continue
        began, ended = instant(value["started_at"]), instant(value["ended_at"])
        if period.start <= began and ended < period.end:
            took.append(ended - began)
    length = period.end - period.start
    return Pace(median(took), period.processor / len(took), period.processor / length)


@dataclass(frozen=True, slots=True)
class Slowdown:
    """An attack compared with the calm times before and after it."""

    calm: Pace
    attacked: Pace
    load: float

    @property
    def factor(self) -> float:
        return self.attacked.seconds / self.calm.seconds


def slowdowns(outcome: Outcome) -> list[Slowdown]:
    """Compare each attack with its calm times."""
    paces = [pace(outcome, period) for period in outcome.periods]
    return [
        Slowdown(_between(paces[number - 1], paces[number + 1]), paces[number], period.load)
        for number, period in enumerate(outcome.periods)
        if period.hostile
    ]


def _between(first: Pace, second: Pace) -> Pace:
    return Pace(
        (first.seconds + second.seconds) / 2,
        (first.processor + second.processor) / 2,
        (first.share + second.share) / 2,
    )


def factor(outcome: Outcome) -> float:
    """Return the factor by which attacks make the rounds of the quiet fleet longer, as the median over the attacks."""
    return median(slowdown.factor for slowdown in slowdowns(outcome))


def _quiet(outcome: Outcome) -> Iterator[str]:
    if (slower := factor(outcome)) > SLOWER:
        yield f"the quiet fleet's rounds took {slower:.2f} times as long as in calm times"
    bad = [value for value in outcome.quiet if value["status"] == "abandoned"]
    yield from (f"round {value['number']} of the quiet fleet is abandoned: {value['failure_reason']}" for value in bad)


def of_rounds(outcome: Outcome) -> Iterator[str]:
    """Yield problems if a hostile update was aggregated, or has no reason."""
    told: dict[str, str] = {}
    for name, rounds in outcome.rounds.items():
        parts = [
            part
            for round_ in rounds
            for part in round_["evaluations" if name == "evaluate" else "participations"]
            if "honest" not in part["client_id"]
        ]
        for part in parts:
            told[part["client_id"]] = part["reason"] or told.get(part["client_id"], "")
            yield from _wrong(name, part)
        if name != "model" and not any(round_["status"] == "completed" for round_ in rounds):
            yield f"no round of {name} was completed"
    yield from outcome.unexplained
    first_models = " ".join(str(round_["failure_reason"]) for round_ in outcome.rounds.get("model", []))
    told |= {hostile.name: "named" for hostile in MODEL if hostile.name in first_models}
    for hostile in (*FIT, *EVALUATE, *MODEL, *SIGNED):
        if not told.get(hostile.name):
            yield f"nothing says what is wrong with {hostile.name}"


def _wrong(training: str, part: Mapping[str, Any]) -> Iterator[str]:
    client_id, reason = part["client_id"], part["reason"]
    if part["status"] == "received":
        yield f"{client_id} counts in a round of {training}"
    if reason is not None and (len(reason) > REASON_LETTERS or not reason.isprintable()):
        yield f"{client_id} has a reason that cannot be shown: {reason[:80]!r}"


def of_devices(outcome: Outcome) -> Iterator[str]:
    """Yield problems if a device that cannot prove its address, or was shut out, got a task or has no reason."""
    tasked = {
        part["client_id"]
        for rounds in outcome.rounds.values()
        for round_ in rounds
        for part in (*round_["participations"], *round_["evaluations"])
    }
    unproven: dict[str, set[str]] = {}
    for client in outcome.clients:
        unproven.setdefault(client["id"], set()).add(str(client["unproven"]))
    for hostile, begin in [(REVOKED, "shut out"), *((hostile, "unproven: ") for hostile in UNPROVEN)]:
        if hostile.name in tasked:
            yield f"{hostile.name} got a task"
        reasons = unproven.get(hostile.name, {"it is not registered"})
        yield from (
            f"{hostile.name} is not named as one that must not train: {reason}"
            for reason in sorted(reasons)
            if not reason.startswith(begin)
        )
    healthy = {client["id"] for client in outcome.clients if client["status"] == "healthy"}
    yield from (f"{hostile.name} counts as healthy" for hostile in HEALTHZ if hostile.name in healthy - {ENDLESS})


def instant(text: str) -> float:
    """Convert an RFC 3339 time to unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def report(outcome: Outcome, database: str, found: list[str]) -> str:
    """Say in one line what was measured."""
    if outcome.gone is not None:
        return f"hostile on {database}: {found[0]}; 1 PROBLEM"
    most, allowed = disk(outcome)
    longest = outcome.holds[0] * 1000 if outcome.holds else 0.0
    answers = sum(sum(seen.values()) for seen in outcome.seen.values())
    calm, attacked = percentiles(outcome)
    seconds = sum(period.end - period.start for period in outcome.periods if period.hostile)
    return (
        f"hostile on {database}: {len(ALL)} agents and {len(CALLERS)} callers, "
        f"{min(outcome.at_once, default=0)} of them at once ({answers} calls) for {seconds:.0f} s; "
        f"loop held {longest:.0f} ms at most; memory {memory_growth(outcome) / MIB:+.1f} MiB; "
        f"spools {most / MIB:.1f} of {allowed / MIB:.1f} MiB allowed; "
        f"quiet rounds {factor(outcome):.2f} times as long as in calm times; "
        f"99th percentile of good calls {attacked * 1000:.0f} ms, calm {calm * 1000:.0f} ms; "
        f"{len(outcome.audit)} audit records; "
        f"healthz {max(outcome.health, default=0.0):.2f} s at most; {outcome.log.count(chr(10))} log lines; "
        f"{'ok' if not found else f'{len(found)} PROBLEMS'}"
    )


def table(outcome: Outcome) -> Iterator[str]:
    """Yield a line for each attack with its calm times."""
    for number, one in enumerate(slowdowns(outcome), start=1):
        yield (
            f"attack {number}: rounds {one.attacked.seconds:.3f} s, calm {one.calm.seconds:.3f} s ({one.factor:.2f}); "
            f"processor for each {one.attacked.processor:.3f} s, calm {one.calm.processor:.3f} s; "
            f"server at {one.attacked.share:.0%} of a core, calm {one.calm.share:.0%}; load {one.load:.1f}"
        )
