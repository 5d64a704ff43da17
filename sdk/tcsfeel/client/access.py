"""The operations of the REST API on API keys, and the question who a caller is.

A call that makes a key is never repeated: if its answer is lost, the text of the key is lost, too. Revoke that key, and
make another one.
"""

from typing import Any

from tcsfeel.client.messages import call, with_body
from tcsfeel.client.operations import LIMIT
from tcsfeel.contract.keys import CallerOut, CreateKey, KeyOut, KeyState, NewKeyOut, Role, RotateKey
from tcsfeel.contract.pages import Page
from tcsfeel.rest.exchange import Request, Steps
from tcsfeel.rest.paths import path


def get_caller() -> Steps[CallerOut]:
    """Read whose key this client uses, and which role it has."""
    return (yield from call(CallerOut, Request("GET", "/v1/caller", repeatable=True)))


def create_key(key: CreateKey | None = None, **fields: Any) -> Steps[NewKeyOut]:
    """Make a key. The `key` of the answer is its text, which no other answer shows."""
    request = yield from with_body(Request("POST", "/v1/keys"), CreateKey, key, fields)
    return (yield from call(NewKeyOut, request))


def list_keys(
    *,
    role: Role | None = None,
    state: KeyState | None = None,
    client_id: str | None = None,
    limit: int = LIMIT,
    cursor: str | None = None,
) -> Steps[Page[KeyOut]]:
    """Read one page of the keys, newest first, including those that are not valid any more."""
    given = {"role": role, "state": state, "client_id": client_id, "limit": str(limit), "cursor": cursor}
    params = [(name, value) for name, value in given.items() if value is not None]
    return (yield from call(Page[KeyOut], Request("GET", "/v1/keys", params=params, repeatable=True)))


def get_key(key_id: str) -> Steps[KeyOut]:
    """Read a key, without its text."""
    return (yield from call(KeyOut, Request("GET", path("/v1/keys/{key_id}", key_id), repeatable=True)))


def revoke_key(key_id: str) -> Steps[None]:
    """Revoke a key. Every server refuses it within 5 seconds. It stays in the list."""
    yield Request("DELETE", path("/v1/keys/{key_id}", key_id), repeatable=True)


def rotate_key(key_id: str, rotation: RotateKey | None = None, **fields: Any) -> Steps[NewKeyOut]:
    """Make a new key in place of a valid one, which stays valid for `grace_seconds` (a day by default)."""
    request = Request("POST", path("/v1/keys/{key_id}/rotate", key_id))
    return (yield from call(NewKeyOut, (yield from with_body(request, RotateKey, rotation, fields))))
