"""A server's keys and callers, on a clock that stands still."""

from dataclasses import dataclass
from pathlib import Path

from app.services.access.api_keys import ApiKeys
from app.services.access.callers import Callers
from app.services.access.keys import AdminKey
from app.services.access.secrets import ServerSecret
from app.settings import Settings
from app.store.database import Database
from tests.clocks import FakeClock

ADMIN = AdminKey("an-admin-key-for-tests")


@dataclass
class Server:
    """One replica. `steady` is the clock by which it trusts what it remembers."""

    secret: ServerSecret
    keys: ApiKeys
    callers: Callers
    clock: FakeClock
    steady: list[float]

    def pass_seconds(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.steady[0] += seconds


def server(db: Database, *, secrets: tuple[str, ...] = (), clock: FakeClock | None = None) -> Server:
    """A replica on a database."""
    clock = clock or FakeClock()
    secret = ServerSecret.load(Settings(data_dir=Path("unused"), auth={"secret_keys": secrets}), ADMIN)
    steady = [1000.0]
    callers = Callers(db, clock, ADMIN, secret, steady=lambda: steady[0])
    return Server(secret, ApiKeys(db, clock, secret, callers), callers, clock, steady)
