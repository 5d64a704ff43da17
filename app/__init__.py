"""TCS-FEEL: a control plane for federated learning over networks whose links are not equal."""

__version__ = "0.1.0"
