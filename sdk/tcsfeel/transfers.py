"""Say how a model travels: over which links, and in which unit its size is counted."""

from typing import Literal

Topology = Literal["star", "relay"]
"""`star`: each update goes straight to the server. `relay`: it may travel over links between clients."""

BYTES_PER_MB = 1_000_000
