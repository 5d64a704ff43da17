"""The storage: one repository for each noun over SQLite or Postgres, and a content-addressed model store.

Repositories take and return domain values, never rows.
"""
