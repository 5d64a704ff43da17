"""Users of a Postgres database that may do less than the tests' own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
from sqlalchemy.engine import make_url


class Role:
    """One that exists for a test. `url` connects as it."""

    def __init__(self, url: str) -> None:
        self._admin = make_url(url)
        self.name = f"role_{self._admin.database}"
        self.url = self._admin.set(username=self.name, password="x").render_as_string(hide_password=False)

    @classmethod
    @asynccontextmanager
    async def made(cls, url: str, *statements: str) -> AsyncIterator[Self]:
        """Make it, run `statements` with its name in place of ``{}``, and drop it in the end."""
        role = cls(url)
        await role._run("CREATE ROLE {} LOGIN PASSWORD 'x'", *statements)
        yield role
        await role._run("DROP OWNED BY {}", "DROP ROLE {}")

    async def _run(self, *statements: str) -> None:
        connection = await asyncpg.connect(
            self._admin.set(drivername="postgresql").render_as_string(hide_password=False)
        )
        for statement in statements:
            await connection.execute(statement.format(self.name))
        await connection.close()
