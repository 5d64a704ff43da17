"""The errors of selection, networks and aggregation, as typed data."""

from collections.abc import Sequence
from typing import Any

from tcsfeel.text import listed, plain

Reasons = Sequence[tuple[str, str]]


class Picklable(Exception):
    """Lets errors be pickled and copied, for process pools and `copy`, although their constructors take other values.

    Python would call the constructor with the message alone. Instead, the attributes are stored and set again.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        usual = tuple(super().__reduce__())  # the class, the arguments for it, and the attributes
        return (_revived, (type(self), usual[1]), *usual[2:])


def _revived(kind: type[Exception], args: tuple[Any, ...]) -> Exception:
    error = kind.__new__(kind, *args)
    error.args = args  # an `OSError` with its own constructor does not keep those of `__new__`
    return error


class TcsFeelError(Picklable):
    """The base class of all errors that a caller can act on."""


class Invalid(TcsFeelError):
    """The input has a valid form but a wrong value. `pointer` is a JSON pointer to the field."""

    def __init__(self, pointer: str, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer
        self.detail = detail


class SelectionInfeasible(TcsFeelError):
    """No set of clients meets the policy. The message has the counts or costs that show it."""


class NotEnoughClients(SelectionInfeasible):
    """Fewer clients can be selected than the policy's minimum. `out` lists the unavailable clients with reasons.

    `required` are those that have to be selected. Carried tasks, if there are some, make up the rest of the minimum.
    """

    def __init__(
        self,
        available: int,
        required: int,
        known: int,
        out: Reasons = (),
        counted: Sequence[str] = (),
        *,
        carried: int = 0,
    ) -> None:
        counts = f"{available} of {known} clients can be selected (healthy, admitted by their breaker, and free)"
        least = f"min_clients is {required + carried}"
        if carried:
            least += f", of which {carried} {'is a carried task' if carried == 1 else 'are carried tasks'}"
        super().__init__("; ".join([f"{counts}, but {least}", *([listed(out, counted)] if out else [])]))
        self.available = available
        self.required = required
        self.known = known
        self.out = tuple(out)
        self.counted = tuple(counted)

    def naming(self, out: Reasons, counted: Sequence[str] = ()) -> "NotEnoughClients":
        """The same error, with the clients that could not be selected. `counted` are reasons that name no client."""
        return NotEnoughClients(self.available, self.required, self.known, out, counted)

    def besides(self, carried: int) -> "NotEnoughClients":
        """The same error of a round that has this many carried tasks besides the clients that it requires."""
        return NotEnoughClients(self.available, self.required, self.known, self.out, self.counted, carried=carried)


class BudgetTooSmall(SelectionInfeasible):
    """The cheapest feasible set costs more than the budget (both in seconds of link time).

    `out` lists the clients that could not be selected anyway, with reasons.
    """

    def __init__(
        self, budget: float, cheapest: float, clients: int, out: Reasons = (), counted: Sequence[str] = ()
    ) -> None:
        costs = f"the cheapest {clients} client(s) cost {cheapest:g} s"
        without = f"; not among them are {listed(out, counted)}" if out else ""
        super().__init__(f"budget_constraint is {budget:g} s of link time, but {costs}{without}")
        self.budget = budget
        self.cheapest = cheapest
        self.clients = clients
        self.out = tuple(out)

    def naming(self, out: Reasons, counted: Sequence[str] = ()) -> "BudgetTooSmall":
        """The same error, with the clients that could not be selected. `counted` are reasons that name no client."""
        return BudgetTooSmall(self.budget, self.cheapest, self.clients, out, counted)


class UnknownStrategy(TcsFeelError):
    """No selection strategy has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no selection strategy {name!r}; the known strategies are {', '.join(known)}")
        self.name = name
        self.known = tuple(known)


class UnusableStrategy(Picklable, ImportError):
    """A package offers a selection strategy that cannot be used, so the server does not start."""

    def __init__(self, name: str, source: str, detail: str) -> None:
        super().__init__(
            f"the selection strategy {name!r} of the package {source} cannot be used: {plain(detail)}."
            f" Correct its entry point in the group tcsfeel.strategies, or uninstall {source}"
        )
        self.name = name
        self.source = source


class StrategyFailed(TcsFeelError):
    """A selection strategy raised an error, or did not return a valid selection."""

    def __init__(self, name: str, detail: str) -> None:
        super().__init__(f"the strategy {name!r} failed: {plain(detail)}")
        self.name = name


class UpdateRejected(TcsFeelError):
    """An update must not be aggregated; the participation shows the reason.

    A reason may quote text that an agent sent, such as a tensor's name, so it is turned into one line of plain text.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(plain(reason))


class UnusableRound(TcsFeelError):
    """The updates of a round cannot be combined to a model, because all weights are zero or no update is left."""


class ModelNotFinite(UnusableRound):
    """The new model or the state of the server optimiser would contain values that are not finite."""
