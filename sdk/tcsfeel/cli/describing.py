"""Describe one client, one round or one training: everything that explains its state, in sections."""

from collections.abc import Iterator
from typing import Any

import click

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.completion import client_ids, training_ids
from tcsfeel.cli.history import shown_round
from tcsfeel.cli.options import connect, key_option, server_option
from tcsfeel.text import escaped

LAST_ROUNDS = 10
MOST_SKIPPED = 20


@click.group(epilog="Example: tcsfeel describe round 3f0c2a9d5b7e4c11 7")
def describe() -> None:
    """Describe a client, a round or a training: its state, and what explains it."""


@describe.command(epilog="Example: tcsfeel describe client edge-7")
@click.argument("client_id", metavar="ID", shell_complete=client_ids)
@server_option
@key_option
def client(client_id: str, *, server: str, key: str | None) -> None:
    """Describe a client: what it claims and what was measured, its breaker, and its last failures."""
    with connect(server, key) as api:
        found = Fields(api.call("GET", "/v1/clients/{client_id}", client_id), "client")
        breaker = Fields(api.call("GET", "/v1/clients/{client_id}/breaker", client_id), "breaker")
    _print(_of_client(found, breaker))


@describe.command("round", epilog="Example: tcsfeel describe round 3f0c2a9d5b7e4c11 7")
@click.argument("training_id", metavar="TRAINING", shell_complete=training_ids)
@click.argument("number", metavar="NUMBER", type=click.IntRange(min=1))
@server_option
@key_option
def round_(training_id: str, number: int, *, server: str, key: str | None) -> None:
    """Describe a round: how each client fared, and why these clients were selected."""
    with connect(server, key) as api:
        training = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
        where = "/v1/trainings/{training_id}/rounds/{number}"
        found = Fields(api.call("GET", where, training_id, str(number)), "round")
        planned = found.has("plan")
        chosen = api.call("GET", f"{where}/selection", training_id, str(number)) if planned else None
    _print(_of_round(found, training, None if chosen is None else Fields(chosen, "selection")))


@describe.command(epilog="Example: tcsfeel describe training 3f0c2a9d5b7e4c11")
@click.argument("training_id", metavar="ID", shell_complete=training_ids)
@server_option
@key_option
def training(training_id: str, *, server: str, key: str | None) -> None:
    """Describe a training: its state, its configuration, and its last rounds."""
    with connect(server, key) as api:
        found = Fields(api.call("GET", "/v1/trainings/{training_id}", training_id), "training")
        page = Fields(api.call("GET", "/v1/trainings/{training_id}/rounds", training_id), "page")
    _print(_of_training(found, [Fields(item, "round") for item in page.items("items")[:LAST_ROUNDS]]))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(line)


def _of_client(found: Fields, breaker: Fields) -> Iterator[str]:
    yield f"client {found.text('id')}"
    yield from _values(found, "status", "unproven", "url", "last_seen_at", "created_at", "enrolled_at", "tags")
    yield ""
    yield "claimed and measured"
    measured = found.part("measured")
    for name in ("data_size", "compute_capacity", "bandwidth", "latency", "reliability"):
        known = f"  measured {measured.number(name):g}" if measured.has(name) else ""
        yield f"  {name.replace('_', ' '):20} {found.number(name):g}{known}"
    yield f"  {'rounds':20} {found.whole('rounds_completed')} of {found.whole('rounds_selected')}"
    yield ""
    yield f"breaker {breaker.text('state')}"
    yield from _values(breaker, "cause", "opened_at", "retry_at")
    for item in reversed(breaker.items("last_failures")):
        failure = Fields(item, "failure")
        yield f"  {failure.text('at')}  {failure.text('phase')}: {failure.text('reason')}"


def _of_training(found: Fields, newest_first: list[Fields]) -> Iterator[str]:
    yield f"training {found.text('id')}  {found.text('name')}"
    yield from _values(
        found, "status", "stop_reason", "stop_detail", "progress", "current_round", "max_rounds", "goal", "goal_value",
        "best_value", "best_round", "model", "created_at", "updated_at",
    )  # fmt: skip
    yield ""
    yield "configuration"
    yield from _values(
        found, "recipe", "aggregation", "selection", "where", "hyperparameters", "round_policy", "evaluation",
        "uploads", "retention", "parameters", "origin", "seed",
    )  # fmt: skip
    yield ""
    yield "last rounds" if newest_first else "no rounds yet"
    for item in reversed(newest_first):
        yield from shown_round(item, found)


def _of_round(found: Fields, training: Fields, chosen: Fields | None) -> Iterator[str]:
    yield f"round {found.whole('number')} of training {training.text('id')}"
    yield from _values(
        found, "status", "failure_reason", "started_at", "deadline_at", "ended_at", "goal_value", "average_accuracy",
        "average_loss", "communication_cost", "communication_bytes", "fairness", "weighting", "waiting_since",
    )  # fmt: skip
    for kind, name in (("updates", "participations"), ("evaluations", "evaluations")):
        yield ""
        yield f"{kind}: {len(found.items(name))}"
        for one in found.items(name):
            part = Fields(one, kind)
            took = f"{part.number('seconds'):.1f} s" if part.has("seconds") else "-"
            reason = f"  {part.text('reason')}" if part.has("reason") else ""
            yield f"  {part.text('client_id'):20} {part.text('status'):9} {took:>8}{reason}"
    if chosen is not None:
        yield from _of_selection(chosen)


def _of_selection(chosen: Fields) -> Iterator[str]:
    yield ""
    yield f"selected by {chosen.text('strategy')}"
    for item in chosen.items("selected"):
        one = Fields(item, "selected")
        terms = one.part("components")
        said = ", ".join(f"{escaped(str(name))} {terms.number(name):.3g}" for name in terms.value)
        yield f"  {one.text('client_id'):20} score {one.number('score'):.4g}  {said}"
    skipped = [Fields(item, "skipped") for item in chosen.items("skipped")]
    for one in skipped[:MOST_SKIPPED]:
        yield f"  {one.text('client_id'):20} not selected: {one.text('reason')}"
    if len(skipped) > MOST_SKIPPED:
        yield f"  and {len(skipped) - MOST_SKIPPED} more that were not selected"


def _values(found: Fields, *names: str) -> Iterator[str]:
    """Yield a line for each field that is there."""
    for name in names:
        if found.has(name) and found.value[name] not in ({}, []):
            yield f"  {name.replace('_', ' '):20} {_shown(found.value[name])}"


def _shown(value: Any) -> str:
    """Show a value in a line: parts of objects as NAME=VALUE."""
    if isinstance(value, dict):
        parts = {name: one for name, one in value.items() if one is not None and one not in ({}, [])}
        return ", ".join(f"{escaped(str(name))}={_shown(one)}" for name, one in parts.items())
    if isinstance(value, list):
        return " ".join(_shown(one) for one in value)
    return escaped(str(value))
