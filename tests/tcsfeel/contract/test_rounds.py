"""The flat rows of a round."""

from typing import Any

from tcsfeel.contract.rounds import ParticipationOut, RoundOut
from tcsfeel.rest.rows import COLUMNS

# In other columns, only with a single round, or not reported by the client.
KNOWN_ELSEWHERE = {"metrics", "traceback", "score", "components", "evidence"}


def test_a_row_names_the_training_and_has_every_value_that_the_client_reported() -> None:
    part: dict[str, Any] = dict.fromkeys(ParticipationOut.model_fields) | {
        "client_id": "edge-1", "status": "received", "metrics": {"rmse": 0.5}, "num_steps": 12,
    }  # fmt: skip
    fields: dict[str, Any] = {"training_id": "t1", "number": 3, "evaluations": []}
    [row] = RoundOut.model_construct(participations=[ParticipationOut.model_construct(**part)], **fields).rows()
    assert (row["training_id"], row["round"], row["kind"], row["num_steps"]) == ("t1", 3, "fit", 12)
    assert row["metrics.rmse"] == 0.5
    assert set(COLUMNS) >= set(ParticipationOut.model_fields) - KNOWN_ELSEWHERE
