"""The admin key, with which callers get access."""
