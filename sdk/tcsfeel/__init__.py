"""TCS-FEEL: federated learning over networks whose links are not equal.

What is named here is loaded when it is first used, so that a device which only trains loads neither selection nor the
client:

    from tcsfeel import Client, ClientNode, TopologyOptimizer, Trainer
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcsfeel.agent import Trainer
    from tcsfeel.client import AsyncClient, Client
    from tcsfeel.selection.optimizer import ClientNode, TopologyOptimizer

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "ClientNode", "TopologyOptimizer", "Trainer", "__version__"]

_PLACES = {
    "AsyncClient": "tcsfeel.client",
    "Client": "tcsfeel.client",
    "ClientNode": "tcsfeel.selection.optimizer",
    "TopologyOptimizer": "tcsfeel.selection.optimizer",
    "Trainer": "tcsfeel.agent",
}
_EXTRAS = {"tcsfeel.selection.optimizer": "selection"}  # `tcsfeel.client` names its own


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'tcsfeel' has no attribute {name!r}")
    place = _PLACES[name]
    try:
        return getattr(import_module(place), name)
    except ModuleNotFoundError as error:
        if place in _EXTRAS and error.name is not None and not error.name.startswith("tcsfeel"):
            extra = _EXTRAS[place]
            raise ImportError(
                f"{name} needs the package {error.name}: pip install 'tcsfeel[{extra}]'", name=error.name
            ) from error
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
