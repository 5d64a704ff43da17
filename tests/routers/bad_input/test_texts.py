"""Any text in any field is stored as it was sent, or refused: on both databases, and never with an error of ours."""

import asyncio
import json
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from tests.api import Api, profile, running_api
from tests.depth import tries

HEADERS = {"Content-Type": "application/json"}
# Half a character is no text that a client could be sent back; NUL and escapes are drawn often.
texts = st.text(
    st.one_of(st.characters(), st.sampled_from("\0\x1b\x7f\x85\x9b\u2028\u202e\ud800\udfffa:")), max_size=12
)


async def sent(api: Api, method: str, path: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    """The answer's JSON where the call was accepted, else None."""
    content = None if body is None else json.dumps(body).encode()  # which escapes what is not ASCII
    response = await api.http.request(method, path, content=content, headers=HEADERS | headers)
    assert response.status_code < 500, (response.text, body)
    return response.json() if response.is_success and response.content else None


async def store(api: Api, text: str) -> None:
    client = await sent(
        api, "PUT", "/v1/clients/edge-7", profile(tags={"site": text}, data_distribution={text: 1.0, "b": 2.0})
    )
    if client is not None:
        assert client["tags"] == {"site": text}
        assert not {unicodedata.category(letter) for letter in text} & {"Cc", "Cs", "Zl", "Zp"}
    for body in (
        {"name": text},
        {"name": "n", "hyperparameters": {text: 1}},
        {"name": "n", "hyperparameters": {"note": text}},
        {"name": "n", "selection": {"strategy": text}},
        {"name": "n", "selection": {"parameters": {text: 1.0}}},
    ):
        training = await sent(api, "POST", "/v1/trainings", body)
        if training is not None and "name" in body:
            assert training["name"] == body["name"]
    in_path = quote(text.encode("utf-8", "surrogatepass"), safe="")
    for path in (f"/v1/clients/x{in_path}", f"/v1/trainings/x{in_path}", f"/v1/clients?tag={in_path}"):
        await sent(api, "GET", path)
    await sent(api, "GET", f"/v1/clients?cursor={in_path}")
    await sent(api, "PUT", f"/v1/clients/x{in_path}", profile())


def test_any_text_is_stored_or_refused(tmp_path: Path, database_url: str) -> None:
    with asyncio.Runner() as runner:
        context = running_api(tmp_path, database_url)
        api = runner.run(context.__aenter__())

        @tries(25)
        @given(texts)
        def one(text: str) -> None:
            runner.run(store(api, text))

        try:
            one()
        finally:
            runner.run(context.__aexit__(None, None, None))
