"""What is wrong with a refusal."""

import httpx2

from tests.api import PROBLEM


def fault(response: httpx2.Response, status: int, *pointers: str) -> str | None:
    """What is wrong with a refusal."""
    if response.status_code != status:
        return f"answered {response.status_code}"
    if response.headers["Content-Type"] != PROBLEM:
        return f"answered {response.headers['Content-Type']}"
    found = {error["pointer"] for error in response.json().get("errors", [])}
    # A lone surrogate cannot be in an answer either.
    wanted = {pointer.encode(errors="replace").decode() for pointer in pointers}
    return None if found == wanted else f"names {sorted(found)}"
