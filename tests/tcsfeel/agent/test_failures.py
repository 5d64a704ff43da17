"""What an agent says of an exception in its trainer: type, message, last lines, and no directory of the device."""

import pytest

from tcsfeel.agent.errors import BrokenResult
from tcsfeel.agent.failures import MISTAKES, failure, last_lines, one_line

HERE = "test_failures.py"


def raised(error: BaseException, before: BaseException | None = None) -> BaseException:
    with pytest.raises(type(error)) as caught:
        _outer(error, before)
    return caught.value


def _outer(error: BaseException, before: BaseException | None) -> None:
    if before is not None:
        with pytest.raises(type(before)):
            _inner(before)
        raise error from before
    _inner(error)


def _inner(error: BaseException) -> None:
    raise error


def test_an_exception_is_told_with_the_last_lines_of_its_traceback() -> None:
    told = failure(raised(KeyError("layer.weight")))
    assert told.startswith(f"KeyError: 'layer.weight' ({HERE}:")
    assert told.endswith(" in _inner)")
    lines = (last_lines(raised(KeyError("layer.weight"))) or "").splitlines()
    assert lines[-1] == "KeyError: 'layer.weight'"
    assert lines[-2] == "    raise error"
    assert lines[-3].startswith(f"  {HERE}:")
    assert lines[-3].endswith(" in _inner")


def test_the_exception_that_led_to_it_comes_first() -> None:
    lines = (last_lines(raised(RuntimeError("no data"), OSError("disk"))) or "").splitlines()
    assert "OSError: disk" in lines
    assert lines.index("OSError: disk") < lines.index("RuntimeError: no data") == len(lines) - 1


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("[Errno 2] No such file: '/home/ann lee/x.csv'", "[Errno 2] No such file: '.../x.csv'"),
        ("[Errno 2] No such file: '/srv/patients/anna/x.csv'", "[Errno 2] No such file: '.../x.csv'"),
        (r"cannot read C:\Users\anna\data.npz now", "cannot read .../data.npz now"),
        ("cannot read file:///home/alice/secret/x.csv", "cannot read file:.../x.csv"),
        ("cannot open sqlite:////home/alice/x.db", "cannot open sqlite:.../x.db"),
        ("see url:/home/alice/x", "see url:.../x"),
        (r"cannot read \\nas01\patients\x.csv", "cannot read .../x.csv"),
        ("no ../alice/secret/x, ./alice/x or ~alice/secret/x", "no .../x, .../x or .../x"),
        ("no patients/anna/scan or patients/anna.csv", "no .../scan or .../anna.csv"),
        ("no PATH=/opt/anna/bin [/opt/anna/x]", "no PATH=.../bin [.../x]"),
        ('cannot read "C:\\ann lee\\x y.csv"', 'cannot read ".../x y.csv"'),
        ("404 from see:https://store.example/a/b", "404 from see:https://store.example/a/b"),
        ("404 from http://store.example/a/b", "404 from http://store.example/a/b"),
        ("shapes (3,) / (4,) at and/or", "shapes (3,) / (4,) at and/or"),
    ],
)
def test_directories_of_the_device_are_left_out(message: str, shown: str) -> None:
    error = raised(OSError(message))
    assert failure(error).startswith(f"OSError: {shown} (")
    assert (last_lines(error) or "").endswith(f"OSError: {shown}")
    assert one_line(error) == f"OSError: {message}", "on the device itself, nothing is hidden"


def test_directories_of_the_device_are_left_out_of_source_lines_and_of_wrong_results() -> None:
    with pytest.raises(OSError, match="anna") as caught:
        open("/srv/our patients/anna/x.csv")  # noqa: PTH123, SIM115  (a line as trainers have it)
    told = last_lines(caught.value) or ""
    assert 'open(".../x.csv")' in told
    assert "anna" not in told
    assert failure(BrokenResult("not a number in /srv/anna/x.csv")) == "not a number in .../x.csv"


def test_a_long_message_and_a_deep_traceback_stay_short() -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        raise ValueError("x\n" * 10**5)

    with pytest.raises(ValueError, match="x") as caught:
        deep(200)
    lines = (last_lines(caught.value) or "").splitlines()
    assert len(lines) <= 20
    assert all(len(line) <= 200 for line in lines)
    assert len(failure(caught.value)) < 600


def test_an_error_that_cannot_say_anything_is_still_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise TypeError("no words")

    told = failure(raised(Mute()))
    assert told.startswith("Mute: (its message cannot be read)")


def test_a_wrong_result_is_told_by_its_text_alone() -> None:
    error = raised(BrokenResult("fit must return a FitResult, not tuple"))
    assert (failure(error), last_lines(error)) == ("fit must return a FitResult, not tuple", None)


@pytest.mark.parametrize("kind", [TypeError, AttributeError, NameError, KeyError, IndexError, ValueError, ImportError])
def test_a_mistake_would_be_made_again(kind: type[Exception]) -> None:
    assert isinstance(kind("x"), MISTAKES)


@pytest.mark.parametrize("kind", [OSError, RuntimeError, MemoryError, ConnectionError, TimeoutError])
def test_what_may_pass_is_tried_again(kind: type[Exception]) -> None:
    assert not isinstance(kind("x"), MISTAKES)
