"""Print why clients of a training failed, with the last lines of what their trainers raised."""

from collections.abc import Callable, Iterator

from tcsfeel.cli.ending import fail
from tcsfeel.cli.options import ca_file, find_key
from tcsfeel.client import ApiError, Client
from tcsfeel.contract.rounds import ClientEvaluationOut, ParticipationOut, RoundOut
from tcsfeel.text import escaped

_FAILED = frozenset({"failed", "rejected"})
Part = ParticipationOut | ClientEvaluationOut


def run(
    server: str, key: str | None, training_id: str, *, only: str | None, rounds: int, tell: Callable[[str], object]
) -> None:
    """Print the failures in the newest `rounds`, of all clients or `only` of one. Ends the command if it is refused."""
    try:
        with Client(server, find_key(key), ca_file=ca_file()) as client:
            for line in failures(client, training_id, only=only, rounds=rounds):
                tell(line)
    except (ApiError, OSError, ValueError) as error:
        fail(str(error))


def failures(client: Client, training_id: str, *, only: str | None = None, rounds: int) -> Iterator[str]:
    """Give the failures in the newest `rounds` as lines, the oldest first. Those of a traceback are indented."""
    newest = client.list_rounds(training_id, limit=rounds).items
    told = False
    for round_ in reversed(newest):
        if any(_failed(round_, only)):
            # A list of rounds leaves tracebacks out.
            for name, part in _failed(client.get_round(training_id, round_.number), only):
                told = True
                when = round_.started_at.astimezone().isoformat(sep=" ", timespec="seconds")
                said = f"{name} {part.status}: {escaped(part.reason or 'no reason is known')}"
                yield f"{when} round {round_.number} {escaped(part.client_id)} {said}"
                yield from (f"    {escaped(line)}" for line in (part.traceback or "").splitlines())
    if not told:
        yield f"no client{f' {only!r}' if only else ''} failed in the newest {len(newest)} rounds"


def _failed(round_: RoundOut, only: str | None) -> Iterator[tuple[str, Part]]:
    parts: list[tuple[str, Part]] = [("fit", one) for one in round_.participations]
    parts += [("evaluation", one) for one in round_.evaluations]
    return (pair for pair in parts if pair[1].status in _FAILED and only in {None, pair[1].client_id})
