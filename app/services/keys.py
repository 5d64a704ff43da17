"""The admin key: given by configuration, or made at the first start and kept in the data directory."""

import os
import secrets
from pathlib import Path

from app import private
from app.domain.errors import DomainError
from app.settings import KEY, Settings, WrongSetting

FILE_NAME = "admin-key"


class Unauthenticated(DomainError):
    """The request carries no key, or a wrong one."""

    def __init__(self) -> None:
        super().__init__("send the header `Authorization: Bearer KEY`, with the key that the first start printed")


class AdminKey:
    """Compares keys in constant time. `made` tells that the key is new and should be shown once."""

    def __init__(self, value: str, *, made: bool = False) -> None:
        self._value = value
        self.made = made

    @classmethod
    def load(cls, settings: Settings) -> "AdminKey":
        """The configured key, else the one in the data directory, else a new one, written with mode 0600.

        Raises:
            WrongSetting: the file holds no key.
        """
        if settings.auth.admin_key is not None:
            return cls(settings.auth.admin_key.get_secret_value())
        path = key_path(settings)
        private.make_directory(settings.data_dir)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            value = path.read_text().strip()
            if not KEY.fullmatch(value):
                raise WrongSetting(f"{path} holds no key: remove it, and the next start makes a new one") from None
            return cls(value)
        value = secrets.token_urlsafe(32)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        return cls(value, made=True)

    def reveal(self) -> str:
        return self._value

    def check(self, given: str | None) -> None:
        """Raises `Unauthenticated`."""
        if given is None or not secrets.compare_digest(given.encode(), self._value.encode()):
            raise Unauthenticated


def key_path(settings: Settings) -> Path:
    """Where a key that was made is kept."""
    return settings.data_dir / FILE_NAME
