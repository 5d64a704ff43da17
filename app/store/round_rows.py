"""Make rounds with their participations from rows."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from operator import itemgetter
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.rounds import KINDS, Evidence, Participation, Round
from app.domain.summaries import Summary, TargetDoubt
from app.store.documents import value_of
from app.store.reading import SHORT, Walk, read
from app.store.shallow import reader
from app.store.tables import participations
from tcsfeel.selection.types import Plan
from tcsfeel.wire.tasks import Scalar, TaskKind

LARGEST_WHOLE = 2**53  # of a hyperparameter
_ELSEWHERE = {
    "hyperparameters", "plan", "target_doubt", "metrics", "training_metrics", "participations", "evaluations",
}  # fmt: skip
_PLAIN = tuple(name for name in Round.__slots__ if name not in _ELSEWHERE)
_PARTICIPATION = tuple(name for name in Participation.__slots__ if name not in {"metrics", "evidence"})

_round = reader(_PLAIN)
_part = reader(Participation.__slots__)


async def with_participations(
    connection: AsyncConnection, training_id: str, rows: Sequence[Row[Any]], walk: Walk, most_bytes: float = math.inf
) -> list[Round]:
    """Make the rounds of these rows, newest first: as many as are complete when `most_bytes` are reached."""
    if not rows:
        return []
    columns = participations.c
    query = (
        select(participations)
        .where(columns.training_id == training_id, columns.round.between(rows[-1].number, rows[0].number))
        .order_by(columns.round.desc(), columns.kind.desc(), columns.client_id.desc())  # as in the index of their key
    )
    grouped: dict[tuple[int, TaskKind], list[tuple[int, Participation]]] = defaultdict(list)
    oldest = rows[0].number

    def keep(row: Row[Any]) -> None:
        nonlocal oldest
        oldest = row.round
        grouped[oldest, row.kind].append((row.rank, participation_of(row)))

    part = await read(
        connection,
        query,
        keep,
        lambda row: tuple_(columns.round, columns.kind, columns.client_id) < tuple_(row.round, row.kind, row.client_id),
        ends=lambda row: walk.weight >= most_bytes and row.round < oldest,
        walk=walk,
        many=SHORT,
    )
    whole: list[Round] = []
    for row in rows:
        if part.more and row.number < oldest:
            break
        fitted, evaluated = (
            tuple(part for _, part in sorted(grouped[row.number, kind], key=itemgetter(0))) for kind in KINDS
        )
        whole.append(round_of(row, fitted, evaluated))
    return whole


def row_of(round_: Round) -> dict[str, Any]:
    row = _round(round_)
    row["plan"] = (
        None if round_.plan is None else {"topology": round_.plan.topology, "parents": dict(round_.plan.parents)}
    )
    row["target_doubt"] = None if round_.target_doubt is None else asdict(round_.target_doubt)
    row["metrics"] = _written(round_.metrics)
    row["training_metrics"] = _written(round_.training_metrics)
    row["hyperparameters"] = None if round_.hyperparameters is None else dict(round_.hyperparameters)
    return row


def row_of_part(part: Participation) -> dict[str, Any]:
    row = _part(part)
    if part.evidence is not None:
        row["evidence"] = asdict(part.evidence)
    return row


def participation_of(row: Row[Any]) -> Participation:
    evidence = None if row.evidence is None else value_of(Evidence, row.evidence)
    return Participation(
        metrics=_numbers(row.metrics), evidence=evidence, **{name: getattr(row, name) for name in _PARTICIPATION}
    )


def round_of(row: Row[Any], fitted: tuple[Participation, ...] = (), evaluated: tuple[Participation, ...] = ()) -> Round:
    plan = None if row.plan is None else Plan(row.plan["topology"], row.plan["parents"])
    return Round(
        plan=plan,
        target_doubt=None if row.target_doubt is None else value_of(TargetDoubt, row.target_doubt),
        metrics=_summaries(row.metrics),
        training_metrics=_summaries(row.training_metrics),
        hyperparameters=None if row.hyperparameters is None else _scalars(row.hyperparameters),
        participations=fitted,
        evaluations=evaluated,
        **{name: getattr(row, name) for name in _PLAIN},
    )


def _written(metrics: Mapping[str, Summary]) -> dict[str, dict[str, float]]:
    return {name: asdict(summary) for name, summary in metrics.items()}


def _summaries(given: dict[str, dict[str, float]]) -> dict[str, Summary]:
    return {
        name: Summary(
            **_numbers({key: found[key] for key in Summary.__slots__ if key != "clients"}),
            clients=int(found["clients"]),
        )
        for name, found in given.items()
    }


def _numbers(given: dict[str, Any]) -> dict[str, float]:
    """Make floats of numbers in JSON, in which Postgres writes a large float as an integer with many digits."""
    return {name: float(number) for name, number in given.items()}


def _scalars(given: dict[str, Any]) -> dict[str, Scalar]:
    """Make floats of the integers that a request could not have, for the same reason."""
    return {
        name: float(value) if isinstance(value, int) and abs(value) > LARGEST_WHOLE else value
        for name, value in given.items()
    }
