"""The REST API: each operation parses, makes one service call, and answers with a schema."""

from app.routers import (
    clients,
    connectivity,
    documentation,
    keys,
    models,
    operations,
    rounds,
    selections,
    strategies,
    trainings,
)

V1 = tuple(module.router for module in (clients, connectivity, strategies, selections, trainings, rounds, models, keys))
"""The operations that need a key."""
OPEN = (operations.router, documentation.router)
"""Those that need a key only if a setting says so."""
