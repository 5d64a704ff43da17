"""Measure how overdue a client is, by a virtual queue that fills while other clients are chosen.

    Q_i <- max(-1, Q_i + K/N - selected_i)

Every round each of the N clients earns the K/N of a place that an even share would give it, and pays 1 for taking
part. A queue that stays bounded means that nobody starves. The floor keeps one unlucky streak of rounds from locking a
client out. A newcomer starts at the mean of the others, neither favoured nor behind.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.types import History

FLOOR = -1.0


def participation_debt(client_ids: Sequence[str], history: History) -> npt.NDArray[np.float64]:
    """Return the queue of each of `client_ids` after all rounds of `history`: at least `FLOOR`, 0 at first.

    Clients that took part once and are no candidates now count among the N, as they did then.
    """
    everyone = dict.fromkeys((*client_ids, *sorted(frozenset().union(*history.rounds))))
    position = {client_id: index for index, client_id in enumerate(everyone)}
    joined = np.array([history.joined.get(client_id, 0) for client_id in everyone])
    queue = np.zeros(len(position))
    for number, chosen in enumerate(history.rounds):
        present = joined <= number
        _welcome(queue, joined == number, joined < number)
        rows = [position[client_id] for client_id in chosen]
        queue[present] += len(rows) / max(int(present.sum()), 1)
        queue[rows] -= 1
        np.maximum(queue, FLOOR, out=queue)
    _welcome(queue, joined >= len(history.rounds), joined < len(history.rounds))
    return queue[: len(client_ids)]


def _welcome(queue: npt.NDArray[np.float64], new: npt.NDArray[np.bool_], old: npt.NDArray[np.bool_]) -> None:
    if new.any() and old.any():
        queue[new] = queue[old].mean()
