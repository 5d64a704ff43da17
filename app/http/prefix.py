"""The path under which a reverse proxy serves the whole API."""

from fastapi import Request


def prefix_of(request: Request) -> str:
    """Return the path, without a slash at its end. It is empty if no proxy adds one."""
    found: str = request.scope.get("root_path", "").rstrip("/")
    return found
