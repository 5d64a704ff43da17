"""What shells offer for an id: those that the control plane knows. If it does not answer soon, they offer nothing."""

import re
from collections.abc import Callable
from itertools import islice

import click
from click.shell_completion import CompletionItem

from tcsfeel.text import plain

MOST = 1000
"""How many ids of the server are looked at, and offered if they fit."""
SECONDS = 2.0
"""How long each call of the API may take."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")  # shells put what is offered into a line that is run
Offers = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _ids(where: str, described: str) -> Offers:
    """Make the function that click asks for the ids in a list of the API, each with a field that describes it."""

    def offer(context: click.Context, _argument: click.Parameter, begun: str) -> list[CompletionItem]:
        from tcsfeel.cli.connection import Connection  # noqa: PLC0415  (help does not need httpx2)
        from tcsfeel.rest.exchange import Patience  # noqa: PLC0415

        given = context.params
        patience = Patience(attempts=1, deadline_seconds=SECONDS)
        try:
            with context.scope(cleanup=False), Connection(given["server"], given.get("key"), patience) as api:
                found = list(islice(api.each(where), MOST))
        except click.ClickException:  # a message would be printed into the line that is being typed
            return []
        ids = [(str(item.get("id")), item.get(described)) for item in found if isinstance(item, dict)]
        fitting = [(one, text) for one, text in ids if _SAFE.fullmatch(one) and one.startswith(begun)]
        return [CompletionItem(one, help=plain(str(text))) for one, text in fitting]

    return offer


client_ids = _ids("/v1/clients", "status")
training_ids = _ids("/v1/trainings", "name")
