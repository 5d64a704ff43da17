"""What a server's process is given before it serves."""

import resource
import subprocess
import sys
from typing import Any

FILES = """
import resource
from app import interpreter
interpreter.tune()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""
LIBRARIES = """
import sys, threading
from app import interpreter
interpreter.tune()
for thread in threading.enumerate():
    if thread.name == "prepare":
        thread.join()
print(*("networkit" in sys.modules, *(name in sys.modules for name in interpreter.DRAWING)))
import sklearn
"""

GARBAGE = """
import asyncio, gc, weakref
from app import interpreter

class Ring:
    pass

async def swept():
    full.clear()
    for _ in range(5):
        await asyncio.sleep(0)
    return len(full) > 0, left() is None

async def main():
    interpreter.SWEEP_SECONDS = 0.0
    preparing = interpreter.tune()
    preparing.join()
    sweeping = asyncio.create_task(interpreter.sweep(preparing))
    await asyncio.sleep(0)
    global left
    ring = Ring()
    ring.itself, left = ring, weakref.ref(ring)
    gc.collect(1)  # the ring is old by now
    del ring
    gc.callbacks.append(lambda phase, about: full.append(phase) if about["generation"] == 2 else None)
    many = [[] for _ in range(400_000)]
    print(*await swept())
    del many
    print(*await swept())
    interpreter.GROWN_BLOCKS = -1
    print(*await swept())
    few, count = [[] for _ in range(50_000)], gc.get_freeze_count
    print(*await swept(), count() > 50_000)
    frozen = count()
    few += [[] for _ in range(50_000)]  # half as many again are needed
    print(*await swept(), count() > frozen)
    few += [[] for _ in range(50_000)]
    print(*await swept(), count() > frozen + 100_000)
    frozen = count()
    interpreter.MANY_BLOCKS = 300_000
    many = [[] for _ in range(400_000)]
    print(*await swept(), count() > frozen)
    del many
    interpreter.MANY_BLOCKS = 2_000_000
    await swept()
    many = [[] for _ in range(400_000)]
    print(*await swept(), count() > frozen)

full = []
asyncio.run(main())
"""


def run(code: str, **options: Any) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, **options)  # noqa: S603  (ours)
    return str(done.stdout).split()


def test_a_server_may_open_as_many_files_as_its_user_may() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = run(FILES, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)))
    assert few == [str(hard), str(hard)]


def test_what_only_draws_is_not_loaded_and_can_be_all_the_same() -> None:
    assert run(LIBRARIES) == ["True", "False", "False"]


def test_all_garbage_is_collected_when_there_is_little_to_look_at_and_not_while_there_is_much() -> None:
    garbage = ["False False", "False False", "True True"]
    left_out = ["True True True", "True True False", "True True True"]
    at_a_peak, after_it = "True True False", "False True False"
    found = [*garbage, *left_out, at_a_peak, after_it]
    assert run(GARBAGE) == " ".join(found).split(), "whether it was looked for and found, and if more is left out then"
