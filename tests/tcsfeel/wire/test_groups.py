"""Patterns of tensors' names: stars, question marks, and nothing else that is special."""

import time

import pytest

from tcsfeel.wire.groups import LONGEST_PATTERN, matching, unmatched

NAMES = ["conv.weight", "bn1.weight", "bn1.running_var", "head.weight", "['params']['head']"]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], set()),
        (["bn?.*"], {"bn1.weight", "bn1.running_var"}),
        (["BN?.*"], set()),
        (["bn1"], set()),
        (["head.weight", "conv*"], {"head.weight", "conv.weight"}),
        (["['params']*"], {"['params']['head']"}),
        (["[bh]*"], set()),
        (["bn1|head*"], set()),
    ],
)
def test_a_pattern_stands_for_whole_names(patterns: list[str], expected: set[str]) -> None:
    assert matching(NAMES, patterns) == expected


def test_patterns_that_match_no_name_are_found() -> None:
    assert unmatched(NAMES, ["bn*", "bm*", "*.weight", "weight"]) == ("bm*", "weight")


def test_no_pattern_takes_long() -> None:
    hostile = "*a" * (LONGEST_PATTERN // 2)
    began = time.process_time()
    assert matching(["a" * 255 + "b"], [hostile]) == frozenset()
    assert time.process_time() - began < 5.0  # an expression that tries every split would take years
