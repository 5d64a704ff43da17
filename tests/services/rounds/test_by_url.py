"""Rounds whose agents cannot fetch the model by its URL: it goes through the server, and no client is at fault."""

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.services.tasks.sources import LEAST_BYTES
from tcsfeel.agent import AgentHost, Parameters
from tcsfeel.agent.fetching import Fetching
from tests.buckets import BucketServer
from tests.planes import Adder, plane
from tests.tcsfeel.agent.files import host


class Large(Adder):
    """Has a model that is worth a URL."""

    def initial_parameters(self) -> Parameters:
        return {"w": np.zeros(LEAST_BYTES // 4, np.float32)}


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ((403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"), "answered 403"),
        ((200, b"other bytes"), "the file has other bytes than the control plane says"),
    ],
    ids=["expired", "other bytes"],
)
async def test_a_model_that_cannot_be_fetched_by_url_goes_through_the_server(
    sqlite_url: str, tmp_path: Path, bucket_server: BucketServer, answer: tuple[int, bytes], why: str
) -> None:
    trainer, agents = Large(), AgentHost()
    agents.add("a", trainer, token="token-of-a", fetching=Fetching())
    with host(*answer) as store, capture_logs() as logs:
        models = {"url": bucket_server.url, "presigned_urls": True, "presigned_endpoint": store.url}
        async with plane(tmp_path, sqlite_url, {"a": trainer}, host=agents, models=models) as one:
            training_id = await one.create(evaluation_clients=0)
            rounds = [await one.run_round(training_id) for _ in range(2)]
            breaker = (await one.system.clients.get("a")).breaker
    agents.close()
    assert [(ended.status, ended.participations[0].attempts) for ended in rounds] == [("completed", 1)] * 2
    assert list(trainer.fitted.values()) == [1, 1]
    assert trainer.received == [0.0, 1.0]
    assert not breaker.last_failures
    assert len(store.asked) == 1  # the second round does not try it again so soon
    reasons = [entry["reason"] for entry in logs if entry["event"].startswith("the parameters of a task go through")]
    assert (len(reasons), all(why in reason for reason in reasons)) == (2, True), reasons
    assert "X-Amz-" not in str(logs)
