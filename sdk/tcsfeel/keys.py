"""Find the key that a control plane on this machine keeps in its data directory."""

from pathlib import Path

FILE_NAME = "admin-key"
MOST_BYTES = 65_536  # of its file


def key_path(data_dir: Path) -> Path:
    """Say where a control plane with this data directory keeps the key that it has made."""
    return data_dir / FILE_NAME


def read_key(path: Path) -> str:
    """Read the key from a file. Bytes that are not text become characters that no key has. Raises `OSError`."""
    with path.open("rb") as file:
        return file.read(MOST_BYTES).decode(errors="replace").strip()
