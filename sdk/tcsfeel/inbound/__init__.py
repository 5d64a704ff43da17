"""Accept connections to the control plane and to agents, within limits.

Rules:

- A caller that is refused is disconnected. No byte of a body is parsed before the application asks for it. If an answer
  is complete before its request is, the connection is closed.
- Everything that a caller can do slowly has a deadline: sending a request's head or its body, and reading the answer.
- One turn of the event loop parses little: a few kilobytes of a head, or a few pieces of a body.
- Each connection needs a place. A stranger is a caller that has not shown a key, and may lose its place to the next
  one. A caller with a key keeps its place. Strangers can never keep it out, and it can never keep out all strangers.

`connection` and `server` need uvicorn, and are imported by those who listen: a device that pulls its tasks does not.
"""

from tcsfeel.inbound.bounds import Bounds
from tcsfeel.inbound.pace import Pace, hurry
from tcsfeel.inbound.welcoming import Crowded, is_known, welcome

__all__ = ["Bounds", "Crowded", "Pace", "hurry", "is_known", "welcome"]
