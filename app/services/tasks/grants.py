"""Tell a relay what it needs for its children: where they are, and grants that let it hand them their tasks."""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from app.domain.clients import Client
from app.services.access.tokens import AgentTokens, LockedToken
from app.services.tasks.signer import Signer
from tcsfeel.wire.codec import Packed
from tcsfeel.wire.digests import digest_of
from tcsfeel.wire.grants import granted_by_token
from tcsfeel.wire.relays import Child, Subtree
from tcsfeel.wire.tasks import Task, task_id, task_metadata


class Grants:
    """Makes subtrees. `tokens` and `signer` know what agents expect of their control plane."""

    def __init__(self, tokens: AgentTokens, signer: Signer) -> None:
        self._tokens = tokens
        self._signer = signer

    def subtree(
        self,
        relay: Task,
        client_id: str,
        children: Mapping[str, Client],
        model: Packed,
        *,
        seconds: float,
        now: float,
        epochs: Mapping[str, int] = MappingProxyType({}),
    ) -> Subtree:
        """Return what the relay with a task and a client id is told about its children. It hashes: call it in a thread.

        A child whose stored token cannot be decrypted is left out.

        Args:
            relay: the relay's task.
            client_id: the relay's client.
            children: with their ids.
            model: what comes with the task.
            seconds: for which the relay waits for its children.
            now: unix seconds, from which the grants count.
            epochs: the local epochs of children that do not do as many as the relay, by their ids.
        """
        found = []
        for child_id, client in children.items():
            child = Child(
                client_id=child_id,
                task_id=task_id(relay.training_id, relay.round, child_id, "fit"),
                url=client.profile.url or "",
                deadline_seconds=seconds,
                data_size=client.profile.data_size,
                public_key=client.public_key or "",
                local_epochs=epochs.get(child_id, 0),
            )
            digest = digest_of(model.payload(task_metadata(child.task(relay))))
            expires = math.ceil(now + seconds)
            grant = self._signer.grant(client.endpoint, child.task_id, digest, expires)
            if grant is None:
                try:
                    token = self._tokens.opened(client.profile.auth_token) if client.profile.auth_token else ""
                except LockedToken:
                    continue
                grant = granted_by_token(token, child.task_id, digest, expires)
            found.append(replace(child, grant=str(grant)))
        return Subtree(client_id=client_id, children=tuple(found))
