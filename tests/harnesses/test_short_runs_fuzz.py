"""The harness that calls a real server by its own document works, in a run of a few seconds."""

from pathlib import Path

from tests.harnesses.fuzz import Course, fuzz


async def test_a_viewer_is_answered_as_documented(tmp_path: Path) -> None:
    outcome = await fuzz(Course("viewer", 1, 1, phases="examples"), tmp_path / "fuzz", None)
    assert outcome.problems == []
    assert outcome.cases > 30
