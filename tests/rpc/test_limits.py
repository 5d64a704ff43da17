"""The limits of callers over gRPC are those of REST."""

from pathlib import Path

import grpc

from tests.api import running_api
from tests.rpc.callers import call, refused, serving


async def test_a_key_that_calls_too_often_is_told_when_to_call_again(tmp_path: Path, sqlite_url: str) -> None:
    limits = {"requests_per_second": 1.0}
    async with running_api(tmp_path / "data", sqlite_url, limits=limits) as api, serving(api) as channel:
        for _ in range(50):
            try:
                await call(channel, "GetTopologyStats")
            except grpc.aio.AioRpcError:
                break
        code, detail, trailers = await refused(channel, "GetTopologyStats")
        assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "more calls than 1 a second" in detail
        assert float(trailers["retry-after"]) >= 1
