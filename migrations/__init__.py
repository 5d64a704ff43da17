"""The one migration chain, for SQLite and Postgres."""
