"""What a proxy between an agent and its control plane may answer."""

import httpx2

from tests.tcsfeel.agent.test_registration import member, registration_of


async def test_an_encoded_page_of_a_proxy_means_later() -> None:
    page = httpx2.Response(502, headers={"Content-Encoding": "gzip"}, stream=httpx2.ByteStream(b"x"))
    answers, pauses = iter([page, httpx2.Response(201, json={})]), list[float]()
    await registration_of(lambda _: next(answers), [member()], pauses).register()
    assert len(pauses) == 1
