"""Measure how overdue a client is, by a virtual queue that grows while other clients are selected.

    Q_i <- max(-1, Q_i + K/N - selected_i)

In every round of K clients, each of the N clients gets K/N, its even share of the places, and pays 1 if it takes part.
If the queues stay bounded, every client is selected again and again. Because of the lower limit, a client that was
selected in many rounds in a row is not shut out for long. A new client starts at the mean of the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcsfeel.selection.types import History

FLOOR = -1.0


def participation_debt(
    client_ids: Sequence[str], history: History, places: Mapping[str, int] | None = None
) -> npt.NDArray[np.float64]:
    """Return the queue of each of `client_ids` after all rounds of `history`. It begins at 0, and is at least `FLOOR`.

    Clients that took part in the past and are not candidates now still count among the N. `places` are the positions of
    the ids.
    """
    if not history.joined:
        places = dict(zip(client_ids, range(len(client_ids)), strict=True)) if places is None else places
        return _debt_of_founders(places, history.rounds)
    everyone = dict.fromkeys((*client_ids, *sorted(frozenset().union(*history.rounds))))
    position = dict(zip(everyone, range(len(everyone)), strict=True))
    joined = np.zeros(len(everyone), np.int64)
    for client_id, number in history.joined.items():
        if client_id in position:
            joined[position[client_id]] = number
    joins = set(joined.tolist())
    queue = np.zeros(len(position))
    present, count = np.zeros(len(position)), 1  # 1 for a client that has joined
    for number, chosen in enumerate(history.rounds):
        if number in joins or not number:
            _welcome(queue, joined == number, joined < number)
            present = (joined <= number).astype(np.float64)
            count = max(int(present.sum()), 1)
        rows = [position[client_id] for client_id in chosen]
        queue += present * (len(rows) / count)
        queue[rows] -= 1
        np.maximum(queue, FLOOR, out=queue)
    _welcome(queue, joined >= len(history.rounds), joined < len(history.rounds))
    return queue[: len(client_ids)]


def _debt_of_founders(places: Mapping[str, int], rounds: Sequence[frozenset[str]]) -> npt.NDArray[np.float64]:
    """Return the same where nobody has joined later, without looking at each client in each round.

    All clients that were never selected have the same queue.
    """
    position = {client_id: index for index, client_id in enumerate(sorted(frozenset().union(*rounds)))}
    here = [client_id for client_id in position if client_id in places]
    count = max(len(places) + len(position) - len(here), 1)
    queue, unselected = np.zeros(len(position)), 0.0
    for chosen in rounds:
        unselected += len(chosen) / count
        queue += len(chosen) / count
        queue[[position[client_id] for client_id in chosen]] -= 1
        np.maximum(queue, FLOOR, out=queue)
    debt = np.full(len(places), unselected)
    debt[[places[client_id] for client_id in here]] = queue[[position[client_id] for client_id in here]]
    return debt


def _welcome(queue: npt.NDArray[np.float64], new: npt.NDArray[np.bool_], old: npt.NDArray[np.bool_]) -> None:
    if new.any() and old.any():
        queue[new] = queue[old].mean()
