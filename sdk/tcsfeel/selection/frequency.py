"""Limit how often a client is selected, so that no claim buys a place in every round.

Nobody can check all that a client claims, but how often it was selected is known for certain. So it is left out of a
round if it has had more than its share of the places:

- The rounds that are looked at are the newest ones that gave away `FAIR` places for each of the N candidates, together
  with the next round, of which `min_clients` places are counted. The fair share of a client is `FAIR` of these places.
- A client that has had `largest_multiple` times as many of them waits until the oldest of these rounds is not looked at
  any more.
"""

import math
from collections import Counter
from collections.abc import Sequence

from tcsfeel.selection.types import History, SelectionPolicy

FAIR = 4  # with fewer, clients that only had luck would wait too; with more, one that lies has more rounds in a row
ROUNDING = 1e-9


def too_frequent(client_ids: Sequence[str], history: History, policy: SelectionPolicy) -> dict[str, str]:
    """Return which of the candidates were selected too often to be selected again now, each with the reason."""
    if policy.largest_multiple is None:
        return {}
    limit = math.floor(FAIR * policy.largest_multiple + ROUNDING)
    places, counts, rounds = policy.min_clients, Counter[str](), 0
    for selected in reversed(history.rounds):
        places += len(selected)
        if places > FAIR * len(client_ids):
            break
        counts.update(selected)
        rounds += 1
    often = {client_id for client_id, count in counts.items() if count >= limit}
    if not often:
        return {}
    return {
        client_id: f"it was selected in {counts[client_id]} of the last {rounds} rounds, "
        f"and its share of the places allows no more than {limit}"
        for client_id in client_ids
        if client_id in often
    }
