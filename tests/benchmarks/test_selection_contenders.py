"""Which settings the strategies of the selection benchmark get."""

from benchmarks.selection import contenders_of


def test_only_our_strategy_has_a_limit_by_default_and_all_but_the_baseline_can_get_one() -> None:
    assert {
        name: [one.largest_multiple for one in contenders_of(name, ["exact", "noisy"], [])]
        for name in ("random", "oort", "tcs-feel", "tcs-feel + relay")
    } == {"random": [None], "oort": [None], "tcs-feel": [2.0, 2.0], "tcs-feel + relay": [2.0]}
    assert [(one.name, one.largest_multiple) for one in contenders_of("oort", ["exact"], [0, 1.5])] == [
        ("oort, no limit", None),
        ("oort, at most 1.5x", 1.5),
    ]
    assert [one.name for one in contenders_of("random", ["exact"], [0, 1.5])] == ["random"]
