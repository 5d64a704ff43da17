"""Engines share what they have compiled if, and only if, their dialects were made in the same way."""

import json

from sqlalchemy.ext.asyncio import create_async_engine

from app.store.database import Database
from app.store.tables import trainings


async def test_a_second_database_compiles_no_statement_that_the_first_one_has(db: Database, database_url: str) -> None:
    statement = trainings.select().where(trainings.c.id == "a").with_only_columns(trainings.c.id, trainings.c.fence)
    async with db.read() as tx:
        first = await tx.connection.execute(statement)
    other = Database(database_url)
    async with other.read() as tx:
        second = await tx.connection.execute(statement)
    await other.dispose()
    assert first.context.compiled is second.context.compiled


def test_dialects_that_were_made_differently_share_nothing() -> None:
    usual = create_async_engine("sqlite+aiosqlite://").dialect
    assert usual == create_async_engine("sqlite+aiosqlite://").dialect
    assert usual != create_async_engine("sqlite+aiosqlite://", json_serializer=json.dumps).dialect
    assert usual != create_async_engine("postgresql+asyncpg://host/name").dialect
