"""The path under which a reverse proxy serves the whole API.

The proxy removes it from what it passes on, so only links and pages have it. `TCSFEEL_PATH_PREFIX` names it; without
that setting, it is the `root_path` that the ASGI server gives.
"""

from fastapi import Request


def prefix_of(request: Request) -> str:
    """Return the path, without a slash at its end. It is empty if no proxy adds one."""
    configured: str | None = request.app.state.system.settings.path_prefix
    found: str = request.scope.get("root_path", "")
    return (configured or found).rstrip("/")


def located(headers: list[tuple[bytes, bytes]], prefix: str) -> list[tuple[bytes, bytes]]:
    """Add the prefix to the path of what a call has made, if the headers name it."""
    return [
        (name, prefix.encode() + value if name == b"location" and value.startswith(b"/") else value)
        for name, value in headers
    ]
