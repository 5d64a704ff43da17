"""How calls of agents break, and whose fault that is."""

import errno

import pytest

from app.services.tasks.breaks import UNREACHABLE, Broken, describe, is_ours
from app.services.tasks.patience import TooSlow


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Broken("cut"), "cut"),
        (TooSlow("too slow"), "too slow"),
        (TimeoutError("http://secret"), "the agent did not answer in time"),
        (ConnectionResetError("http://secret"), "the connection was lost (ConnectionResetError)"),
        (ValueError("http://secret"), "its URL cannot be called"),
    ],
)
def test_a_call_that_breaks_is_described_without_what_the_error_says_of_urls(error: Exception, words: str) -> None:
    assert describe(error) == words


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (OSError(errno.EMFILE, "x"), True),
        (OSError(errno.ECONNREFUSED, "x"), False),
        (Broken(UNREACHABLE), False),
    ],
)
def test_a_shortage_of_this_machine_is_no_agents(error: Exception, ours: bool) -> None:
    assert is_ours(error) == ours
