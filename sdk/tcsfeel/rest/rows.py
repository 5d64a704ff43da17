"""Turn rounds into flat rows, one for each client's part, which tables and CSV files can hold."""

from collections.abc import Iterator, Mapping
from typing import Any

PARTS = (("fit", "participations"), ("evaluate", "evaluations"))
"""The kinds of parts, and the fields of a round that list them."""
COLUMNS = (
    "training_id", "round", "kind", "client_id", "status", "attempts", "reason", "num_examples", "num_steps", "loss",
    "accuracy", "update_norm", "bytes_sent", "bytes_received", "seconds",
    "digest", "weight", "relay", "begun_in", "base_model", "staleness", "carried_to", "local_epochs",
    "asked_steps",
)  # fmt: skip
METRIC = "metrics."  # begins the name of the column of a metric


def flat_rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row for each participation and each evaluation of a round, which is given as the API shows it.

    A metric such as `rmse` is in the column `metrics.rmse`. A row has only the metrics that its client reported.
    """
    for kind, field in PARTS:
        for part in found.get(field) or ():
            known = {**part, "training_id": found.get("training_id"), "round": found["number"], "kind": kind}
            measured = {f"{METRIC}{name}": value for name, value in sorted((part.get("metrics") or {}).items())}
            yield {name: known.get(name) for name in COLUMNS} | measured
