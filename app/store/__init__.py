"""Where facts live: one repository per noun over SQLite or Postgres, and a content-addressed model store.

Repositories give and take domain values, never rows.
"""
