"""Bodies that the parser gives up on: the refusal names the field in which it did."""

import pytest

from tests.api import Api

DEEP = b"[" * 5_000 + b"]" * 5_000
NESTED = "is nested too deeply: no field needs more than 8 levels"
NOT_UTF_8 = "is not JSON: it is not UTF-8"
DIGITS = "cannot be parsed: a number has too many digits"


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        (b'{"seed": 1, "exclude": %b, "topology": "star"}' % DEEP, "/exclude", NESTED),
        (b'{"exclude": ["seed"], "weights" : {"a": %b}}' % DEEP, "/weights", NESTED),
        (b'{"exclude": "budget: [[", "seed": %b}' % DEEP, "/seed", NESTED),
        (b'{"S3cret": %b}' % DEEP, "", NESTED),
        (DEEP, "", NESTED),
        (b'{"seed": 1, "exclude": ["\xff"]}', "/exclude", NOT_UTF_8),
        (b"\xff{}", "", NOT_UTF_8),
        (b'{"exclude": [], "seed": %b}' % (b"9" * 5_000), "/seed", DIGITS),
    ],
)
async def test_the_field_is_named_where_it_is_known(sqlite_api: Api, body: bytes, pointer: str, words: str) -> None:
    response = await sqlite_api.http.post("/v1/selections", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"] == [{"pointer": pointer, "detail": words}]
