"""Make a backup while servers run, and restore one. The process does nothing else, so it calls what blocks directly.

A backup reads all tables in one transaction, on one snapshot, and copies the files that the rows name afterwards. Files
never change, but servers remove those that nothing needs any more. If a version's file is gone, the backup begins again
with a newer snapshot. A file of a task in the mailbox may be gone because its round has ended: the task is left out,
and the next server hands it over again.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, Table, func, insert, inspect, literal, select, text, tuple_

from app import __version__
from app.domain.errors import NotFound
from app.store import migrations
from app.store.backups import FORMAT, TABLES, Backup, BrokenBackup, Manifest, NamedFiles, TableDigest, encoded, files_of
from app.store.database import Database
from app.store.model_store import BLOCK, ModelFiles
from app.store.tables import metadata, tasks
from app.store.transaction import Transaction
from tcsfeel import private

ATTEMPTS = 5
ROWS = 500  # that one statement reads or inserts
STATEMENT_SECONDS = 3600.0


class CannotRestore(Exception):
    """The database is not one that a backup can be restored into. The message says why."""


async def back_up(url: str, files: ModelFiles, directory: Path) -> Manifest:
    """Write a backup into a new directory.

    Raises:
        BrokenBackup: the directory has files, the schema is not that of this version, or files are missing.
        DatabaseUnavailable, StoreUnavailable: the database or the store of models does not answer.
    """
    backup = _new(directory)
    for attempt in range(1, ATTEMPTS + 1):
        async with _opened(url) as db:
            if not await migrations.is_current(db):
                raise BrokenBackup(
                    "the schema of the database is not that of this version: run `tcsfeel migrate` first, or make the "
                    "backup with the newer version that has migrated it"
                )
            async with db.read() as tx:
                made_at = await tx.now()
                digests, named = await _write_tables(tx, backup)
        missing = _copy(files, backup, named)
        if not missing & named.versions:
            break
        if attempt == ATTEMPTS:
            raise BrokenBackup(f"the file {min(missing & named.versions)} of a model version is missing in its store")
    if missing:
        digests[tasks.name] = _without_tasks(backup, missing)
    kept = (named.versions | named.tasks) - missing
    manifest = Manifest(
        format=FORMAT,
        version=__version__,
        made_at=made_at,
        schema_versions=sorted(migrations.heads()),
        tables=digests,
        files=len(kept),
        bytes=sum(backup.models.path(name).stat().st_size for name in kept),
    )
    private.write(backup.manifest, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


async def restore(url: str, files: ModelFiles, directory: Path) -> Manifest:
    """Verify a backup, and write it into an empty database and a store of models.

    Raises:
        BrokenBackup: the backup is not complete, or something in it was changed.
        CannotRestore: the database has rows.
        WrongSchema, DatabaseUnavailable, StoreUnavailable: the database or the store cannot be written.
    """
    backup = Backup(directory)
    manifest = backup.verify()
    if manifest.schema_versions != sorted(migrations.heads()):
        raise BrokenBackup(
            f"the backup was made by version {manifest.version} with the schema {', '.join(manifest.schema_versions)}: "
            "restore it with that version, and upgrade then"
        )
    async with _opened(url) as db, db.read() as tx:
        await _need_empty(tx)  # before the migrations, which would change a database that was named by mistake
    await migrations.upgrade(url)
    async with _opened(url) as db:
        _bring_back(files, backup)
        async with db.begin() as tx:
            await _need_empty(tx)
            for table in TABLES:
                await _insert(tx, table, backup)
            if not db.is_sqlite:
                await _go_on_counting(tx)
    return manifest


async def _need_empty(tx: Transaction) -> None:
    """Raise `CannotRestore` if a table has rows. The schema may be of an older version, or not be there yet."""
    for name in sorted(await tx.connection.run_sync(lambda connection: inspect(connection).get_table_names())):
        if name in metadata.tables:
            query = select(literal(1)).select_from(metadata.tables[name]).limit(1)
            if (await tx.connection.execute(query)).first() is not None:
                raise CannotRestore(f"the database has rows in {name}: a backup needs an empty database")


def _new(directory: Path) -> Backup:
    if directory.is_dir() and any(directory.iterdir()):
        raise BrokenBackup(f"{directory} is not empty: name a new directory")
    found = Backup(directory)
    private.make_directory(found.table("any").parent)
    return found


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Database]:
    db = Database(url, pool_size=1, statement_seconds=STATEMENT_SECONDS)
    try:
        yield db
    finally:
        await db.dispose()


async def _write_tables(tx: Transaction, backup: Backup) -> tuple[dict[str, TableDigest], NamedFiles]:
    digests, named = {}, NamedFiles()
    for table in TABLES:
        digest, count = hashlib.sha256(), 0
        with backup.written(table.name) as file:
            async for row in _rows(tx, table):
                line = encoded(table, row)
                file.write(line)
                digest.update(line)
                count += 1
                named.note(table.name, row)
        digests[table.name] = TableDigest(rows=count, sha256=digest.hexdigest())
    return digests, named


async def _rows(tx: Transaction, table: Table) -> AsyncIterator[dict[str, Any]]:
    """Yield the rows of a table by its key, some in a statement; one by one if they have bytes, which may be many."""
    key = tuple(table.primary_key.columns)
    limit = 1 if any(isinstance(column.type, LargeBinary) for column in table.c) else ROWS
    query = select(table).order_by(*key).limit(limit)
    page = (await tx.connection.execute(query)).mappings().all()
    while page:
        for row in page:
            yield dict(row)
        last = tuple_(*(literal(page[-1][column.name], column.type) for column in key))
        page = (await tx.connection.execute(query.where(tuple_(*key) > last))).mappings().all()


def _copy(files: ModelFiles, backup: Backup, named: NamedFiles) -> set[str]:
    """Copy the files that are not in the backup yet. Returns those that are missing."""
    missing = set()
    for name in sorted(named.versions | named.tasks, key=lambda name: (name in named.versions, name)):
        if backup.models.has(name):
            continue
        try:
            stored = backup.models.write(_blocks(files.path(name)))
        except (NotFound, FileNotFoundError):
            missing.add(name)
            continue
        if stored.sha256 != name:
            backup.models.remove(stored.sha256)
            raise BrokenBackup(f"the file {name} of the store of models has other bytes than were stored")
    return missing


def _without_tasks(backup: Backup, missing: set[str]) -> TableDigest:
    """Write the mailbox again without the tasks whose files are missing."""
    kept = [row for row in backup.rows(tasks) if missing.isdisjoint(files_of(row))]
    lines = [encoded(tasks, row) for row in kept]
    with backup.written(tasks.name) as file:
        file.writelines(lines)
    return TableDigest(rows=len(lines), sha256=hashlib.sha256(b"".join(lines)).hexdigest())


def _bring_back(files: ModelFiles, backup: Backup) -> None:
    named = NamedFiles()
    for table in TABLES:
        for row in backup.rows(table):
            named.note(table.name, row)
    for name in sorted(named.versions | named.tasks):
        if files.write(_blocks(backup.models.path(name))).sha256 != name:
            raise BrokenBackup(f"{backup.models.path(name)} was changed while it was restored")


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


async def _insert(tx: Transaction, table: Table, backup: Backup) -> None:
    batch: list[dict[str, Any]] = []
    for row in backup.rows(table):
        batch.append(row)
        if len(batch) == ROWS:
            await tx.connection.execute(insert(table), batch)
            batch = []
    if batch:
        await tx.connection.execute(insert(table), batch)


async def _go_on_counting(tx: Transaction) -> None:
    """Let the sequences of Postgres go on after the highest number of their tables."""
    for table in TABLES:
        for column in table.primary_key.columns:
            if column.autoincrement is True and isinstance(column.type, BigInteger):
                most = (await tx.connection.execute(select(func.max(column)))).scalar()
                if most is not None:
                    statement = text("SELECT setval(pg_get_serial_sequence(:table, :column), :most)")
                    names = {"table": table.name, "column": column.name, "most": most}
                    await tx.connection.execute(statement, names)
