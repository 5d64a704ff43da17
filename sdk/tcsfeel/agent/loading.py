"""Load a trainer from a reference such as ``package.module:attribute``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from tcsfeel.agent.errors import TrainerNotFound
from tcsfeel.agent.failures import one_line
from tcsfeel.agent.trainer import Trainer

_METHODS = ("initial_parameters", "fit", "profile")


def load_trainer(reference: str) -> Trainer:
    """Import a trainer. Modules in the working directory are also found, but installed modules come first.

    Args:
        reference: ``package.module:attribute``. The attribute is a trainer, or a class or function that returns one
            when called without arguments.

    Raises:
        TrainerNotFound: one step failed; the message says in one line which.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise TrainerNotFound(f"{reference!r} is not of the form package.module:attribute")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # never first: a file there that is called `typing_extensions.py` would take its place
    try:
        found: object = importlib.import_module(module_name)
    except Exception as error:
        raise TrainerNotFound(f"importing {module_name} failed: {one_line(error)}") from error
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise TrainerNotFound(f"module {module_name} has no {attribute}")
        found = getattr(found, name)
    if isinstance(found, type) or not isinstance(found, Trainer):
        if not callable(found):
            raise TrainerNotFound(f"{reference} is not a trainer: it lacks {_missing(found)}")
        try:
            found = cast("Callable[[], object]", found)()
        except Exception as error:
            raise TrainerNotFound(f"calling {reference} failed: {one_line(error)}") from error
        if not isinstance(found, Trainer):
            raise TrainerNotFound(f"{reference} did not return a trainer: it lacks {_missing(found)}")
    return found


def _missing(found: object) -> str:
    return ", ".join(name for name in _METHODS if not hasattr(found, name))
