"""Tune the interpreter of a server so that it answers quickly, even if some work takes a little longer."""

import asyncio
import gc
import resource
import sys
import threading
import time
from collections.abc import Callable

import structlog

from tcsfeel.network import centrality

log = structlog.get_logger(__name__)

SWITCH_SECONDS = 0.001
"""How long a thread that has work to do waits until it gets the interpreter from a busy thread.

Every write to SQLite and every piece of work on files goes to a thread and back, and waits for this at both ends. So
does each call of the kernel on the event loop while another thread is busy. The default is five times as long.
"""

DRAWING = ("matplotlib", "sklearn")
"""Libraries for drawing that networkit loads if they are installed: 90 MB that a server does not need."""

NEVER = 1_000_000_000
"""Number of collections of younger objects after which the interpreter itself would check all objects.

While a large fleet is read or a matrix is checked, there are millions of objects, and checking them takes longer than
the event loop may be held. Younger objects are collected all the time, which takes a millisecond at most.
"""
SWEEP_SECONDS = 2.0
"""Between two looks: to free all the garbage of an attack of ten seconds at once holds the loop for 60 to 100 ms."""
PATIENCE_SECONDS = 300.0
FEW_BLOCKS = 250_000
"""Pieces of memory, beyond those at the start or left out since, that can be looked at in some 20 ms."""
GROWN_BLOCKS = 25_000
"""Pieces of memory more than after the last collection from which on it is worth while to look for garbage again."""
KEPT_OBJECTS = 20_000
"""If more objects survive a collection, later ones leave them out: to look at so many takes 5 ms, with cold caches 10.

Those that become garbage later are still freed, unless they refer to each other: these stay in memory for ever. So they
are left out only while there is little in memory, and each time only if half as many again have survived as the last
time. Soon there would have to be more of them than there are in little memory, and then no more are left out.
"""
MANY_BLOCKS = 2_000_000
"""Pieces of memory more than after the last collection: if they are garbage, they are some 200 MB."""


def tune(also: Callable[[], object] | None = None) -> threading.Thread:
    """Tune the interpreter, once, before the server starts. Returns the thread that loads what is needed later.

    The thread calls `also` first, for what the first request would have to wait for.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    young, middle, _ = gc.get_threshold()
    gc.set_threshold(young, middle, NEVER)
    _allow_files()
    preparing = threading.Thread(target=_prepare, args=[also], name="prepare", daemon=True)
    preparing.start()
    return preparing


async def sweep(preparing: threading.Thread) -> None:
    """Collect all garbage again and again, when there is little else in memory and there may be some.

    It is collected in any case after a few minutes, and where memory has grown by much since the last time. `preparing`
    is the thread that `tune` returned: what it loads is not checked, and does not count as being in memory.
    """
    while preparing.is_alive():  # noqa: ASYNC110  (a thread tells no event loop of its end)
        await asyncio.sleep(SWEEP_SECONDS)
    at_start = left = sys.getallocatedblocks()
    kept = KEPT_OBJECTS
    swept_at = time.monotonic()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        blocks = sys.getallocatedblocks()
        left, at_start = min(left, blocks), min(at_start, blocks)  # or memory that was freed would count as little
        calm = blocks - at_start < FEW_BLOCKS
        due = time.monotonic() - swept_at > PATIENCE_SECONDS or blocks - left > MANY_BLOCKS
        if due or (calm and blocks - left > GROWN_BLOCKS):
            gc.collect()
            left, swept_at = sys.getallocatedblocks(), time.monotonic()
            if calm and (survivors := len(gc.get_objects(generation=2))) > kept:
                gc.freeze()
                at_start, kept = left, survivors + survivors // 2


def _allow_files() -> None:
    """Allow as many open files as this user may have: a round needs one for each task, and then for each update.

    Many systems start a process with 1024, for the sake of programs that wait by `select`.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _prepare(also: Callable[[], object] | None) -> None:
    """Load what the first request and the first selection would wait for, and exclude it from collections.

    Otherwise each full collection would check a million objects of libraries, and stop everything for a tenth of a
    second.
    """
    if also is not None:
        also()
    kept_out = [name for name in DRAWING if name not in sys.modules]
    for name in kept_out:
        sys.modules[name] = None  # type: ignore[assignment]  # which is how Python refuses an import
    try:
        centrality.prepare()
    except (ImportError, OSError) as error:  # it is loaded when it is needed, or that says why not
        log.warning(
            "the libraries for selection could not be loaded in advance", reason=f"{type(error).__name__}: {error}"
        )
    finally:
        for name in kept_out:
            del sys.modules[name]
    gc.collect()
    gc.freeze()
