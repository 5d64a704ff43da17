"""The server's secret: what all replicas know and the database does not.

`TCSFEEL_AUTH__SECRET_KEYS` lists secrets, the newest first. New values are made with the first one, and values that an
older one made can still be used. The last secret is derived from the admin key: so a deployment without this setting
has a secret that all its replicas share, and one that gets this setting later still reads what it has stored.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.services.access.keys import AdminKey
from app.settings import Settings
from tcsfeel.errors import Picklable

ENCRYPTED = "encrypted:"
"""The prefix of encrypted texts. It tells them apart from texts that were stored before there was encryption."""
_BYTES = 32
_ID_BYTES = 8


class Undecipherable(Picklable, ValueError):
    """No secret of this server decrypts a stored text."""

    def __init__(self) -> None:
        super().__init__(
            "a stored text was encrypted with a secret that this server does not have: add that secret to "
            "TCSFEEL_AUTH__SECRET_KEYS, or set the admin key of that time"
        )


class ServerSecret:
    """The secrets of a server, the newest first. Its methods derive keys from them for one purpose each.

    Attributes:
        ids: a name for each secret, which tells nothing about it. They are stored beside what the secret has made.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._derive = cache(lambda purpose: tuple(_derived(secret, purpose) for secret in secrets))
        self._hash_keys = self._derive("keyed hashes")
        self._cipher = MultiFernet([Fernet(urlsafe_b64encode(key)) for key in self._derive("encryption")])
        self.ids = tuple(key[:_ID_BYTES].hex() for key in self._derive("identification"))

    @classmethod
    def load(cls, settings: Settings, admin_key: AdminKey) -> "ServerSecret":
        """Make the secret of the settings and the admin key."""
        given = [secret.get_secret_value().encode() for secret in settings.auth.secret_keys]
        return cls([*given, _derived(admin_key.reveal().encode(), "server secret")])

    def derive(self, purpose: str) -> bytes:
        """Derive the 32 bytes for a purpose from the newest secret. They are the same in all replicas."""
        return self._derive(purpose)[0]

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """Derive 32 bytes for a purpose from each secret, from the newest one first."""
        return self._derive(purpose)

    def keyed_hash(self, text: str) -> bytes:
        """Return the hash to store of a text that is long and random, such as an API key."""
        return hmac.digest(self._hash_keys[0], text.encode(), "sha256")

    def matches(self, text: str, stored: bytes) -> bool:
        """Tell whether a stored hash is that of a text, under any of the secrets."""
        found = [hmac.digest(key, text.encode(), "sha256") for key in self._hash_keys]
        return any([hmac.compare_digest(one, stored) for one in found])  # noqa: C419  (takes as long for each secret)

    def encrypt(self, text: str) -> str:
        """Encrypt a text with the newest secret, for the database."""
        return ENCRYPTED + self._cipher.encrypt(text.encode()).decode()

    def decrypt(self, stored: str) -> str:
        """Decrypt a text of the database. A text without the prefix was stored before and is returned as it is.

        Raises:
            Undecipherable: no secret fits.
        """
        if not stored.startswith(ENCRYPTED):
            return stored
        try:
            return self._cipher.decrypt(stored.removeprefix(ENCRYPTED).encode()).decode()
        except InvalidToken:
            raise Undecipherable from None

    def renewed(self, stored: str) -> str:
        """Encrypt a text of the database again, with the newest secret. Raises `Undecipherable`."""
        return self.encrypt(self.decrypt(stored))


def _derived(secret: bytes, purpose: str) -> bytes:
    """Derive a key by HKDF (RFC 5869). Keys for different purposes tell nothing about each other."""
    return HKDF(algorithm=SHA256(), length=_BYTES, salt=None, info=f"tcsfeel {purpose}".encode()).derive(secret)
