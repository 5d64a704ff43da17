"""A database as a version after this one leaves it: with additions, and a migration that is not known here."""

from sqlalchemy import Connection, text

from app.store import migrations

NEWER = "9999"
ADDITIONS = (
    "ALTER TABLE clients ADD COLUMN newer INTEGER NOT NULL DEFAULT 7",
    "ALTER TABLE trainings ADD COLUMN newer VARCHAR(16)",
    "CREATE TABLE newer (training VARCHAR(64), FOREIGN KEY(training) REFERENCES trainings (id) ON DELETE CASCADE)",
    "CREATE INDEX ix_rounds_newer ON rounds (model)",
)


async def add(url: str, *statements: str) -> None:
    """Do what a newer migration does, and more."""

    def work(connection: Connection) -> None:
        for statement in (*ADDITIONS, *statements, f"UPDATE alembic_version SET version_num = '{NEWER}'"):  # noqa: S608  (ours)
            connection.execute(text(statement))

    await migrations.change(url, work)
