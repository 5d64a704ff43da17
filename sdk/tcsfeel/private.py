"""Make files and directories that no other user can read, since they contain keys, tokens and models.

Each is made with its mode, whatever the process's umask is.
"""

import errno
import os
import secrets
from pathlib import Path

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
OTHERS = 0o077
ATTEMPTS = 10


def make_directory(path: Path) -> None:
    """Make a directory, and missing ones above it, that only this user can read."""
    if path.is_dir():
        return
    for attempts_left in reversed(range(ATTEMPTS)):
        make_directory(path.parent)
        try:
            path.mkdir(mode=DIRECTORY_MODE)
        except FileExistsError:
            if not path.is_dir():  # otherwise another thread has just made it
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        except FileNotFoundError:  # another thread has just removed the directory above, which was empty
            if not attempts_left:
                raise
            continue
        return


def opener(path: str, flags: int) -> int:
    """Open a file as `open` does, and give it `FILE_MODE` where it is new: the argument of `open` of that name."""
    return os.open(path, flags, FILE_MODE)


def write(path: Path, content: bytes) -> None:
    """Write a file as a whole that only this user can read, and directories above it that are missing.

    The file has the new content or the old one, even if the machine stops. Raises `OSError`.
    """
    make_directory(path.parent)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with open(draft, "xb", opener=opener) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
