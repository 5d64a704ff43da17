"""The service: a control plane for federated learning over networks whose links are not equal."""

from tcsfeel import __version__

__all__ = ["__version__"]
