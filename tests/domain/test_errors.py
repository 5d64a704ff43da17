"""What errors say, since users read it."""

from typing import Any

import pytest

from app.domain import errors
from tcsfeel import errors as refusals


@pytest.mark.parametrize(
    ("error", "about", "message"),
    [
        (errors.NotFound, ("client", "edge-7"), "there is no client 'edge-7'"),
        (errors.Removed, ("model of round", "3"), "the model of round 3 has been removed"),
        (errors.AlreadyExists, ("client", ["a"]), "client 'a' is already registered: use PUT to replace it"),
        (
            errors.AlreadyExists,
            ("client", list("abcde")),
            "client 'a', 'b', 'c', 'd', 'e' is already registered: use PUT to replace it",
        ),
        (
            errors.AlreadyExists,
            ("client", list("abcdef")),
            "client 'a', 'b', 'c', 'd', 'e' and 1 more is already registered: use PUT to replace it",
        ),
        (refusals.Invalid, ("/costs/0", "must be at least 0"), "must be at least 0"),
        (errors.StateForbids, ("pause", "training", "paused"), "cannot pause a training that is paused"),
        (
            errors.Forbidden,
            ("viewer", "operator"),
            "this key has the role viewer, and this call needs the role operator",
        ),
        (
            errors.Forbidden,
            ("agent", "operator", "edge-7"),
            "this key is of the agent of the client 'edge-7', and allows only calls about it",
        ),
        (
            errors.LimitReached,
            ("running_trainings", "this key runs 5 trainings"),
            "this key runs 5 trainings; the limit is set by TCSFEEL_LIMITS__RUNNING_TRAININGS",
        ),
        (
            errors.InvitationOver,
            ("i-1", "not ready"),
            "the invitation i-1 is not ready: ask an operator for a new one",
        ),
        (
            errors.IllegalTransition,
            ("completed", "frozen"),
            "the event 'frozen' is not possible in the status 'completed'",
        ),
        (
            refusals.NotEnoughClients,
            (2, 10, 12),
            "2 of 12 clients can be selected (healthy, admitted by their breaker, and free), but min_clients is 10",
        ),
        (
            refusals.NotEnoughClients,
            (2, 3, 3, [("edge-2", "its breaker is open: since noon")]),
            (
                "2 of 3 clients can be selected (healthy, admitted by their breaker, and free), but min_clients is 3;"
                " edge-2: its breaker is open: since noon"
            ),
        ),
        (
            refusals.BudgetTooSmall,
            (0.5, 1.25, 3),
            "budget_constraint is 0.5 s of link time, but the cheapest 3 client(s) cost 1.25 s",
        ),
        (
            refusals.UnknownStrategy,
            ("best", ["a", "b"]),
            "there is no selection strategy 'best'; the known strategies are a, b",
        ),
        (refusals.UpdateRejected, ("why",), "why"),
    ],
)
def test_messages_say_what_is_wrong_with_which_value(
    error: type[refusals.TcsFeelError], about: tuple[Any, ...], message: str
) -> None:
    assert str(error(*about)) == message


def test_errors_carry_what_they_are_about() -> None:
    invalid = refusals.Invalid("/costs/0", "no")
    assert (invalid.pointer, invalid.detail) == ("/costs/0", "no")
    missing, removed = errors.NotFound("client", "a"), errors.Removed("model", "3")
    assert (missing.kind, missing.name) == ("client", "a")
    assert (removed.kind, removed.name) == ("model", "3")
    taken = errors.AlreadyExists("client", ["b", "a"])
    assert (taken.kind, taken.names) == ("client", ("b", "a"))
    forbidden = errors.Forbidden("agent", "operator", "edge-7")
    assert (forbidden.role, forbidden.needed, forbidden.client_id) == ("agent", "operator", "edge-7")
    full = errors.LimitReached("running_trainings", "too many", retry_after=5.0)
    assert (full.limit, full.retry_after) == ("running_trainings", 5.0)
    unknown = refusals.UnknownStrategy("best", ["b", "a"])
    assert (unknown.name, unknown.known) == ("best", ("b", "a"))
    short = refusals.NotEnoughClients(2, 10, 12)
    assert (short.available, short.required, short.known, short.out) == (2, 10, 12, ())
    out = (("a", "it is busy"),)
    assert short.naming(out).out == out
    assert str(short.naming(out)) == f"{short}; a: it is busy"
    carried = short.naming(out, ["it is busy"]).besides(1)
    assert (carried.required, carried.out) == (10, out)
    assert "but min_clients is 11, of which 1 is a carried task; " in str(carried)
    assert "but min_clients is 12, of which 2 are carried tasks" in str(short.besides(2))
    tight = refusals.BudgetTooSmall(0.5, 1.25, 3)
    assert (tight.budget, tight.cheapest, tight.clients, tight.out) == (0.5, 1.25, 3, ())
    assert tight.naming(out).out == out
    assert str(tight.naming(out)) == f"{tight}; not among them are a: it is busy"


def test_a_refusal_names_the_setting_or_the_header_that_lets_the_call_through() -> None:
    assert "TCSFEEL_AUTH__REGISTER_BY_KEY" in str(errors.InvitationNeeded())
    assert "`Authorization: Bearer SECRET`" in str(errors.WrongInvitation())


@pytest.mark.parametrize(("length", "shown"), [(300, "x" * 300), (301, "x" * 299 + "…"), (10**6, "x" * 299 + "…")])
def test_a_reason_that_quotes_an_agent_is_cut(length: int, shown: str) -> None:
    assert str(refusals.UpdateRejected("x" * length)) == shown
