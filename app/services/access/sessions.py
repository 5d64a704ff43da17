"""Sessions of browsers: an API key in a form that only a server can read, to be kept in a cookie.

A session is the key itself with the time at which it ends, encrypted with the server's secret. So every replica can
open it, nothing is stored, and a session ends at once when its key is revoked or expires.
"""

import json

from app.clock import Clock
from app.services.access.secrets import ENCRYPTED, ServerSecret, Undecipherable
from tcsfeel.errors import Invalid

SECONDS = 43_200.0  # half a day
LONGEST = 3_800  # characters of a session: browsers keep no cookie of more than 4 096 bytes, with its name
_PURPOSE = "session"


class Sessions:
    """Makes sessions of keys, and keys of sessions.

    Attributes:
        cookie: the name of the cookie. Servers on other ports of a host, which share its cookies, have another secret.
    """

    def __init__(self, secret: ServerSecret, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self.cookie = f"tcsfeel_session_{secret.ids[-1]}"

    def seal(self, key: str) -> str:
        """Make a session of a key that was just checked. Raises `Invalid` if the key is too long for a cookie."""
        text = json.dumps([_PURPOSE, self._clock.now() + SECONDS, key])
        sealed = self._secret.encrypt(text).removeprefix(ENCRYPTED)
        if len(sealed) > LONGEST:
            raise Invalid("/header/authorization", "is too long to be kept in a cookie: log in with an API key")
        return sealed

    def key_of(self, sealed: str | None) -> str | None:
        """Return the key of a session; None if there is none, if it has ended, or if this server did not make it."""
        if sealed is None or len(sealed) > LONGEST:
            return None
        try:
            purpose, until, key = json.loads(self._secret.decrypt(ENCRYPTED + sealed))
        except (Undecipherable, ValueError, TypeError):
            return None
        return str(key) if purpose == _PURPOSE and self._clock.now() < until else None
