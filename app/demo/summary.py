"""Write the report at the end of a demo."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from app.demo.baseline import Baseline
from app.demo.history import History

MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a demo.

    Attributes:
        recipe: the name of the training's recipe.
        strategy: the strategy that chose the clients.
        shaped: whether bytes travelled at the speeds of links.
        other: the command that runs the same with the other topology; None if agents pull.
        baseline: what random selection and FedAvg reach.
        reached: whether the accuracy that the agents measured is at least the target.
        right, held_out: how many held-out digits this process classifies correctly with the downloaded final model, and
            how many there are.
        training_seconds, total_seconds: the wall time since the start of the training, and of the whole demo.
    """

    recipe: str
    strategy: str
    baseline: Baseline
    target: float
    reached: bool
    history: History
    right: int
    held_out: int
    training_seconds: float
    total_seconds: float
    shaped: bool = False
    other: str | None = None


def summary(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of the report."""
    history = outcome.history
    accuracy, fairness = history.accuracy or 0.0, history.fairness or 0.0
    verdict = "reached" if outcome.reached else "missed"
    rounds = len(history.rows)
    mean = sum(row.seconds for row in history.rows) / max(rounds, 1)
    yield f"recipe         {outcome.recipe}, with clients chosen by {outcome.strategy}"
    yield f"target         {verdict}: {accuracy:.4f} measured by the agents, {outcome.target:.4f} asked for"
    right, held_out = outcome.right, outcome.held_out
    yield f"checked here   the model, fetched over REST, has {right} of {held_out} digits right: {right / held_out:.4f}"
    yield f"rounds         {rounds}, {mean:.2f} s each"
    yield f"wall time      {outcome.training_seconds:.1f} s of training, {outcome.total_seconds:.1f} s in all"
    yield f"communication  {history.cost:.1f} s of link time, {history.traffic / MEGABYTE:.1f} MB"
    if relayed := sum(row.relayed for row in history.rows):
        received = sum(row.received for row in history.rows)
        yield f"relays         {relayed} of {received} updates came through other agents"
    if outcome.shaped:
        yield from _links(outcome)
    yield f"without it     {_without(outcome)}"
    yield f"fairness       {fairness:.3f} (Jain's index of how often each client took part; 1 is even)"
    yield f"failures       {history.failures} attempts failed or got no answer, and the training went on"


def _links(outcome: Outcome) -> Iterator[str]:
    """Say what a round costs on links that are not modelled, and which command shows what another topology costs."""
    history = outcome.history
    rounds = max(len(history.rows), 1)
    traffic, learning = (total / MEGABYTE / rounds for total in (history.traffic, history.learning))
    yield f"links          {traffic:.2f} MB a round over the server's links, {learning:.2f} MB of it to train"
    if history.rows:
        seconds = median(row.seconds for row in history.rows)
        updates = median(row.last_update for row in history.rows)
        yield f"medians        {seconds:.2f} s a round, and {updates:.2f} s until its last update"
    if outcome.other is not None:
        yield f"compare with   {outcome.other}"


def _without(outcome: Outcome) -> str:
    """Say what random selection and FedAvg reach with the same digits and links."""
    plain, rounds = outcome.baseline, len(outcome.history.rows)
    needed = plain.reached(outcome.target)
    found = (
        f"do not reach {outcome.target:.4f} in {len(plain.accuracy)} rounds"
        if needed is None
        else f"reach {outcome.target:.4f} after {needed} rounds and {sum(plain.cost[:needed]):.1f} s of link time"
    )
    then = (
        f"; after {rounds} rounds they are at {plain.accuracy[rounds - 1]:.4f}" if rounds <= len(plain.accuracy) else ""
    )
    return f"random selection and FedAvg {found}{then} (computed here, without failures)"


def ideas(strategy: str, seed: int) -> Iterator[str]:
    """Yield suggestions of what to try next, if nothing was kept."""
    other = "random" if strategy != "random" else "tcs-feel"
    commands = {
        f"tcsfeel demo --strategy {other} --seed {seed}": "same digits, network and failures; one seed says little",
        f"tcsfeel demo --seed {seed + 1}": "another split, another network",
        "tcsfeel demo --keep": "leaves it running, for a look at REST, Swagger UI and metrics",
    }
    width = max(map(len, commands))
    yield from (f"  {command:{width}}  {meaning}" for command, meaning in commands.items())


def tour(url: str, key_file: Path, training_id: str) -> Iterator[str]:
    """Yield suggestions of what to look at, if everything was kept."""
    call = f'curl -s -H "Authorization: Bearer $(cat {key_file})"'
    yield f"{url}/docs   Swagger UI; authorize with the key in {key_file}"
    yield f"{call} {url}/v1/trainings/{training_id}"
    yield f"{call} '{url}/v1/trainings/{training_id}/rounds?limit=1'"
    yield f"{call} '{url}/v1/clients?limit=3'"
    yield f"{call} {url}/v1/topology"
    yield (
        f"{call} {url}/v1/selections -H 'Content-Type: application/json' "
        """-d '{"strategy": "tcs-feel", "min_clients": 10, "max_clients": 10, "seed": 7}'"""
    )
    yield f"curl -s {url}/metrics"
