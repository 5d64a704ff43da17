"""The form of a backup: a directory with the rows of every table, the files that they name, and a manifest.

- ``tables/NAME.jsonl`` has a line of JSON for each row. Bytes are in base64. The rows of all tables are one snapshot.
- ``models/SHA256`` are the files of the model store that the rows name.
- ``manifest.json`` has the SHA-256 and the number of rows of each table. It is written last: without it, a backup is
  not complete.

A backup of one kind of database can be restored into the other kind. It has no secrets but those in the tables, which
are hashed or encrypted with the server's secret; that secret is not in it.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import JSON, Column, LargeBinary, Table
from sqlalchemy.types import TypeDecorator

from app.store.model_store import BLOCK, SHA256, ModelStore
from app.store.tables import metadata
from tcsfeel import private

FORMAT = 1
TABLES = tuple(metadata.sorted_tables)
"""All tables, those first that others name."""
_MOST_MANIFEST_BYTES = 1_000_000
_YEAR_9999 = 253_402_300_799

Number = Annotated[int, Field(ge=0)]


class BrokenBackup(Exception):
    """A backup cannot be used. The message names the file and says what is wrong with it."""


class TableDigest(BaseModel):
    """What the file of a table has to be."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    rows: Number
    sha256: str


class Manifest(BaseModel):
    """What a backup consists of. `schema_versions` are the newest migrations; `made_at` is in unix seconds."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    format: int
    version: str
    made_at: Annotated[float, Field(ge=0, le=_YEAR_9999)]
    schema_versions: list[str]
    tables: dict[str, TableDigest]
    files: Number
    bytes: Number


@dataclass
class NamedFiles:
    """The files that rows name. Those of `versions` are needed; `tasks` are of rounds that were open."""

    versions: set[str] = field(default_factory=set)
    tasks: set[str] = field(default_factory=set)

    def note(self, table: str, row: Mapping[str, Any]) -> None:
        """Note what a row of a table names."""
        if table == "model_versions":
            if row["removed_at"] is None:
                self.versions.add(row["sha256"])
            if row["optimiser_state"] is not None:
                self.versions.add(row["optimiser_state"])
        elif table == "tasks":
            self.tasks.update(files_of(row))


def files_of(task: Mapping[str, Any]) -> list[str]:
    """Return the files that a row of the mailbox names."""
    return [task[name] for name in ("model", "result") if task[name] is not None]


@dataclass(frozen=True)
class Backup:
    """A directory with a backup."""

    directory: Path

    @property
    def models(self) -> ModelStore:
        return ModelStore(self.directory / "models")

    def table(self, name: str) -> Path:
        return self.directory / "tables" / f"{name}.jsonl"

    def written(self, name: str) -> BinaryIO:
        """Open the file of a table to write it anew, so that only this user can read it."""
        return open(self.table(name), "wb", opener=private.opener)

    @property
    def manifest(self) -> Path:
        return self.directory / "manifest.json"

    def read_manifest(self) -> Manifest:
        """Read what the backup consists of. Raises `BrokenBackup`."""
        try:
            with _open(self.manifest) as file:
                found = Manifest.model_validate_json(file.read(_MOST_MANIFEST_BYTES))
        except FileNotFoundError:
            raise BrokenBackup(f"{self.manifest} is missing: the backup was not completed, or this is none") from None
        except OSError as error:
            raise BrokenBackup(f"{self.manifest} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "all of it"
            raise BrokenBackup(f"{self.manifest} is not a manifest: {where}: {first['msg']}") from None
        if found.format != FORMAT:
            raise BrokenBackup(f"{self.manifest} has the format {found.format}, and this version reads {FORMAT}")
        if found.tables.keys() != {table.name for table in TABLES}:
            raise BrokenBackup(
                f"the backup was made by version {found.version}, which has other tables: restore it with that "
                "version, and upgrade then"
            )
        return found

    def rows(self, table: Table) -> Iterator[dict[str, Any]]:
        """Yield the rows of a table. Raises `BrokenBackup` if a line is not a row of it."""
        names, path = {column.name for column in table.c}, self.table(table.name)
        try:
            with _open(path) as file:
                for number, line in enumerate(file, 1):
                    yield _decoded(table, names, line, f"line {number} of {path}")
        except OSError as error:
            raise BrokenBackup(f"{path} cannot be read: {error.strerror}") from error

    def verify(self) -> Manifest:
        """Compare every file with its hash, and every row with the files that it names. Raises `BrokenBackup`."""
        manifest, named = self.read_manifest(), NamedFiles()
        for table in TABLES:
            path, wanted, count = self.table(table.name), manifest.tables[table.name], 0
            if _hash_of(path) != wanted.sha256:
                raise BrokenBackup(f"{path} is not what was written: its SHA-256 is not that of the manifest")
            for row in self.rows(table):
                count += 1
                named.note(table.name, row)
            if count != wanted.rows:
                raise BrokenBackup(f"{path} has {count} rows, and the manifest says {wanted.rows}")
        files, size = sorted(named.versions | named.tasks), 0
        for name in files:
            path = self.directory / "models" / name
            if not SHA256.fullmatch(name) or _hash_of(path) != name:
                raise BrokenBackup(f"{path} is not what was written: its SHA-256 is not its name")
            size += path.stat().st_size
        if (len(files), size) != (manifest.files, manifest.bytes):
            raise BrokenBackup(
                f"the rows name {len(files)} files with {size} bytes, and {self.manifest} says {manifest.files} files "
                f"with {manifest.bytes} bytes"
            )
        return manifest


def encoded(table: Table, row: Mapping[str, Any]) -> bytes:
    """Write a row as a line."""
    values = {
        column.name: base64.b64encode(row[column.name]).decode()
        if isinstance(column.type, LargeBinary) and row[column.name] is not None
        else row[column.name]
        for column in table.c
    }
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def _decoded(table: Table, names: set[str], line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if not isinstance(row, dict) or row.keys() != names:
            raise BrokenBackup(f"{where} does not have the columns of {table.name}")
        for column in table.c:
            if isinstance(column.type, LargeBinary) and row[column.name] is not None:
                row[column.name] = base64.b64decode(row[column.name], validate=True)
            if not _fits(column, row[column.name]):
                raise BrokenBackup(f"{where} has a value in {column.name} that cannot be there")
    except (ValueError, TypeError, RecursionError):
        raise BrokenBackup(f"{where} is not a row of {table.name}") from None
    return row


def _fits(column: Column[Any], value: Any) -> bool:
    """Tell whether a value has the type of its column. SQLite would store it in any case."""
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, JSON):
        return True
    stored_as = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    kind = stored_as.python_type
    return isinstance(value, kind if kind is not float else (float, int)) and isinstance(value, bool) == (kind is bool)


def _open(path: Path) -> BinaryIO:
    """Open a file to read it. What is not a file, such as a pipe or a device, could keep the reader for ever."""
    if path.exists() and not path.is_file():
        raise BrokenBackup(f"{path} is not a file")
    return path.open("rb")


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with _open(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except FileNotFoundError:
        raise BrokenBackup(f"{path} is missing") from None
    except OSError as error:
        raise BrokenBackup(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
