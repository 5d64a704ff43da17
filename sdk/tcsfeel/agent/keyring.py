"""Keep what clients have got when they enrolled, in files that only the agent's user can read."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from tcsfeel import private
from tcsfeel.agent.errors import AgentError
from tcsfeel.identity import Identity, UnusableIdentity

MOST_BYTES = 65_536  # of a file


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client has got from the control plane.

    Attributes:
        key: the client's own API key.
        invitation_id: the invitation that it enrolled with.
        server_public_key: the key with which the control plane signs its calls.
    """

    client_id: str
    key: str = field(repr=False)
    invitation_id: str
    server_public_key: str


class Keyring:
    """The keys of clients in a directory: ``ID.identity`` and ``ID.enrolment.json`` for each."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def identity(self, client_id: str) -> Identity:
        """Return the identity of a client, which is made if there is none. Raises `AgentError`."""
        try:
            return Identity.load_or_make(self.directory / f"{client_id}.identity")
        except (UnusableIdentity, ImportError) as error:
            raise AgentError(str(error)) from error

    def find(self, client_id: str) -> Credentials | None:
        """Return what a client has got; None if it has not enrolled. Raises `AgentError`."""
        file = self._file(client_id)
        try:
            with file.open("rb") as stream:
                found = json.loads(stream.read(MOST_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError(f"{file} cannot be read: {error.strerror}") from error
        except ValueError:
            found = None
        names = {one.name for one in fields(Credentials)}
        whole = (
            isinstance(found, dict) and found.keys() == names and all(isinstance(one, str) for one in found.values())
        )
        if not whole or found["client_id"] != client_id:
            raise AgentError(f"{file} was not written by an agent: restore it, or remove it and enrol again")
        return Credentials(**found)

    def keep(self, credentials: Credentials) -> None:
        """Store what a client has got. Raises `AgentError`."""
        file = self._file(credentials.client_id)
        try:
            private.write(file, json.dumps(asdict(credentials)).encode())
        except OSError as error:
            raise AgentError(f"the client's key cannot be kept in {file}: {error.strerror}") from error

    def _file(self, client_id: str) -> Path:
        return self.directory / f"{client_id}.enrolment.json"


def usual_directory() -> Path:
    """Return the directory of this user in which agents keep their keys if no other is given."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "tcsfeel"
