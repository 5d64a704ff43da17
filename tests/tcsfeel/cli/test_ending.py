"""A command that ends early says why, when nothing covers the terminal any more."""

import pytest

from tcsfeel.cli.ending import Ended, fail


def test_the_reason_is_printed_only_after_a_view_that_covers_the_terminal_has_gone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Ended) as ended:
        fail("the server is gone\x1b[31m")
    assert capsys.readouterr() == ("", "")
    ended.value.show()
    assert capsys.readouterr() == ("", "tcsfeel: the server is gone\\x1b[31m\n")
    assert ended.value.exit_code == 1
