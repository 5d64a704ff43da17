"""Old rows are removed in short transactions, and not for ever."""

from app.store.database import Database
from app.store.portions import PORTION, PORTIONS, in_portions
from app.store.transaction import Transaction


class Table:
    """A table with a number of old rows, and the transactions in which they were removed."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.transactions: list[Transaction] = []

    async def remove(self, tx: Transaction, limit: int) -> int:
        self.transactions.append(tx)
        portion = min(limit, self.rows)
        self.rows -= portion
        return portion


async def test_each_portion_has_a_transaction_of_its_own_and_one_that_is_not_full_is_the_last(db: Database) -> None:
    table = Table(2 * PORTION + 3)
    assert await in_portions(db, table.remove) == 2 * PORTION + 3
    assert len({id(tx) for tx in table.transactions}) == len(table.transactions) == 3
    nothing = Table(0)
    assert await in_portions(db, nothing.remove) == 0
    assert len(nothing.transactions) == 1


async def test_more_than_the_most_portions_are_left_for_the_next_time(db: Database) -> None:
    table = Table(PORTIONS * PORTION + 7)
    assert await in_portions(db, table.remove) == PORTIONS * PORTION
    assert (table.rows, len(table.transactions)) == (7, PORTIONS)
