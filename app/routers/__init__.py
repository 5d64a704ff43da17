"""The REST API: each operation parses, makes one service call, and answers with a schema."""

from app.routers import (
    audit,
    caller,
    clients,
    connectivity,
    dashboard,
    documentation,
    events,
    invitations,
    keys,
    models,
    operations,
    rounds,
    selections,
    session,
    strategies,
    tasks,
    trainings,
    webhooks,
)

V1 = (
    clients.router,
    tasks.router,
    invitations.router,
    connectivity.router,
    strategies.router,
    selections.router,
    trainings.router,
    rounds.router,
    models.router,
    keys.router,
    caller.router,
    session.router,
    audit.router,
    events.router,
    webhooks.router,
)
"""The operations that need a key."""
OPEN = (operations.router, documentation.router, dashboard.router)
"""Those that need a key only if a setting says so."""
