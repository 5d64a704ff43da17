"""What a round measures of its clients' time is not only what they say."""

from pathlib import Path

import pytest

from tcsfeel.agent import FitResult, Parameters, Task
from tests.clocks import FakeClock, Sleeping
from tests.planes import Adder, plane, policy

SECONDS = 40.0


class Slow(Adder):
    """Trains for as long as the control plane's clock leaps meanwhile; the SDK's own clock does not see it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock

    def fit(self, parameters: Parameters, task: Task) -> FitResult:
        self.clock.advance(SECONDS)
        return super().fit(parameters, task)


async def test_an_agent_that_claims_no_time_is_measured_by_the_clock_of_the_control_plane(
    database_url: str, tmp_path: Path
) -> None:
    clock = FakeClock(sleeping=Sleeping.LASTS)
    async with plane(tmp_path, database_url, {"a": Slow(clock)}, clock=clock) as running:
        rules = policy(deadline_seconds=6000.0)
        await running.run_round(await running.create(round_policy=rules, evaluation_clients=0))
        measured = (await running.system.clients.get("a")).measured
        assert measured.train_seconds == pytest.approx(SECONDS, rel=0.2)
