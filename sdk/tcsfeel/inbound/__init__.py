"""Connections that others open to us, for the control plane and for agents alike, each with its bounds.

Rules:

- A caller who is refused is cut off: no byte of a body is parsed before the application asks for it, and an answer that
  is complete before its request ends the connection.
- Everything that a caller can do slowly has a deadline: a request's head, its body, taking the answer in.
- One turn of the event loop parses little, whatever was sent: a few kilobytes of a head, a few pieces of a body.
- Connections have places. A stranger, who has not shown a key, may lose its place to the next one; a caller with a key
  keeps its own, and can never be kept out by strangers, nor keep all of them out.
"""

from tcsfeel.inbound.arrivals import Arrivals, Crowded, welcome
from tcsfeel.inbound.bounds import Bounds
from tcsfeel.inbound.connection import Connection
from tcsfeel.inbound.pace import Pace, hurry
from tcsfeel.inbound.server import Server, listeners

__all__ = ["Arrivals", "Bounds", "Connection", "Crowded", "Pace", "Server", "hurry", "listeners", "welcome"]
