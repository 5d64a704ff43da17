"""The admin key: given by configuration, or made at the first start and kept in the data directory."""

import os
import secrets
from pathlib import Path

from app.domain.keys import KeyState
from app.settings import KEY, Settings, WrongSetting
from tcsfeel import keys, private
from tcsfeel.errors import TcsFeelError


class Unauthenticated(TcsFeelError):
    """The request carries no key, or one that is not valid.

    `state` tells why a key is not valid that was valid before. A device, which can make no keys and read no prompts, is
    told what it needs from an operator.
    """

    def __init__(self, *, sent: bool = False, state: KeyState | None = None, of_device: bool = False) -> None:
        if of_device:
            why = {"expired": "has expired", "revoked": "was revoked"}.get(str(state), "is not valid")
            super().__init__(
                f"the device's key in the header `Authorization` {why}: ask an operator for an invitation for this "
                "device, and enrol with it"
            )
        elif state == "expired":
            super().__init__("the key in the header `Authorization` has expired: ask an admin for a new one")
        elif state == "revoked":
            super().__init__("the key in the header `Authorization` was revoked: ask an admin for a new one")
        elif sent:
            super().__init__(
                "the key in the header `Authorization` is not valid: send the admin key, which the first start "
                "printed, or a key that an admin has made"
            )
        else:
            super().__init__(
                "send the header `Authorization: Bearer KEY`, with the admin key, which the first start printed, or a "
                "key that an admin has made"
            )


class AdminKey:
    """Compares keys in constant time. `made` tells that the key is new and should be shown once."""

    def __init__(self, value: str, *, made: bool = False) -> None:
        self._value = value
        self.made = made

    @classmethod
    def load(cls, settings: Settings) -> "AdminKey":
        """The configured key, else the one in the data directory, else a new one, written with mode 0600.

        Raises:
            WrongSetting: the file holds no key, or cannot be read or made.
        """
        if settings.auth.admin_key is not None:
            return cls(settings.auth.admin_key.get_secret_value())
        path = key_path(settings)
        private.make_directory(settings.data_dir)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            value = _read_key(path)
            if not KEY.fullmatch(value):
                raise WrongSetting(
                    f"TCSFEEL_DATA_DIR: {path} holds no key: remove it, and the next start makes a new one"
                ) from None
            return cls(value)
        except OSError as error:
            raise WrongSetting(f"TCSFEEL_DATA_DIR: {path} cannot be made: {error.strerror}") from error
        value = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        return cls(value, made=True)

    def reveal(self) -> str:
        return self._value

    def matches(self, given: str) -> bool:
        """Tell whether a text is the key."""
        return secrets.compare_digest(given.encode(), self._value.encode())


def _read_key(path: Path) -> str:
    """Read the key that is kept in a file; what is no text is no key. Raises `WrongSetting`."""
    try:
        return keys.read_key(path)
    except OSError as error:
        raise WrongSetting(
            f"TCSFEEL_DATA_DIR: {path}, which keeps the admin key, cannot be read: {error.strerror}: remove it, and "
            "the next start makes a new one, or set TCSFEEL_AUTH__ADMIN_KEY"
        ) from error


def key_path(settings: Settings) -> Path:
    """Say where a key that was made is kept."""
    return keys.key_path(settings.data_dir)
