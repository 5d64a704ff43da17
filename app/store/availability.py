"""The reasons why the database cannot be used at the moment, in words for operators."""


class DatabaseUnavailable(ConnectionError):
    """The database cannot be used now. `reason` is the short name that metrics count."""

    reason = "unreachable"
    finding = "does not answer"


class NoAnswer(DatabaseUnavailable):
    """The database did not answer a query in time."""

    reason = "no_answer"


class NoFreeConnection(DatabaseUnavailable):
    """All connections of this process are in use, and none became free in time."""

    reason = "busy"
    finding = "has no free connection: all of this server's are in use"


class TooManyConnections(DatabaseUnavailable):
    """Postgres has reached its `max_connections`."""

    reason = "too_many_connections"
    finding = (
        "refuses further connections: raise max_connections of Postgres, or lower TCSFEEL_DATABASE__POOL_SIZE and "
        "TCSFEEL_DATABASE__COORDINATOR_POOL_SIZE of all servers"
    )
