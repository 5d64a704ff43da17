"""How many examples the slower property tests try: few in ``make test``, more with ``make test DEPTH=10``."""

import math
import os

from hypothesis import HealthCheck, settings

DEPTH = float(os.environ.get("DEPTH", "1"))


def tries(examples: int, *, steps: int = 1, repeatable: bool = False) -> settings:
    """Settings for so many `examples`, each of at most `steps`; `repeatable` ones are the same every time."""
    return settings(
        max_examples=math.ceil(examples * DEPTH),
        stateful_step_count=steps,
        deadline=None,
        derandomize=repeatable,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
