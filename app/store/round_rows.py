"""Make rounds with their participations from rows."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from operator import itemgetter
from typing import Any

from sqlalchemy import Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.evaluations import Evaluation
from app.domain.rounds import Participation, Round
from app.store.reading import SHORT, Walk, read
from app.store.tables import participations
from tcsfeel.aggregation.measurements import TargetDoubt
from tcsfeel.selection.types import Plan

_PLAIN = tuple(
    name for name in Round.__slots__ if name not in {"plan", "target_doubt", "participations", "evaluations"}
)
_PARTICIPATION = tuple(Participation.__slots__)


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
        .order_by(columns.round.desc(), columns.client_id.desc())  # as they are in the index of their key
    )
    grouped: dict[int, list[tuple[int, Participation]]] = defaultdict(list)
    oldest = rows[0].number

    def keep(row: Row[Any]) -> None:
        nonlocal oldest
        oldest = row.round
        grouped[oldest].append((row.rank, participation_of(row)))

    part = await read(
        connection,
        query,
        keep,
        lambda row: tuple_(columns.round, columns.client_id) < tuple_(row.round, row.client_id),
        ends=lambda row: walk.weight >= most_bytes and row.round < oldest,
        walk=walk,
        many=SHORT,
    )
    whole: list[Round] = []
    for row in rows:
        if part.more and row.number < oldest:
            break
        ranked = sorted(grouped[row.number], key=itemgetter(0))
        whole.append(round_of(row, tuple(participation for _, participation in ranked)))
    return whole


def row_of(round_: Round) -> dict[str, Any]:
    row = {name: getattr(round_, name) for name in _PLAIN}
    row["plan"] = (
        None if round_.plan is None else {"topology": round_.plan.topology, "parents": dict(round_.plan.parents)}
    )
    row["target_doubt"] = None if round_.target_doubt is None else asdict(round_.target_doubt)
    row["evaluations"] = [asdict(evaluation) for evaluation in round_.evaluations]
    return row


def participation_of(row: Row[Any]) -> Participation:
    return Participation(**{name: getattr(row, name) for name in _PARTICIPATION})


def round_of(row: Row[Any], parts: tuple[Participation, ...]) -> Round:
    plan = None if row.plan is None else Plan(row.plan["topology"], row.plan["parents"])
    return Round(
        plan=plan,
        target_doubt=None if row.target_doubt is None else TargetDoubt(**row.target_doubt),
        participations=parts,
        evaluations=tuple(map(_evaluation, row.evaluations)),
        **{name: getattr(row, name) for name in _PLAIN},
    )


def _evaluation(given: dict[str, Any]) -> Evaluation:
    """Make an evaluation from its JSON, in which Postgres writes a large float as an integer with many digits."""
    loss = given["loss"]
    return Evaluation(**given | {"loss": None if loss is None else float(loss)})
