"""Which tensors updates hold, which model versions hold, and which patterns match none."""

from app.domain.parameter_groups import NothingToTrain, ParameterGroups, Unmatched, unmatched_of

NAMES = ["conv.weight", "bn.weight", "bn.running_var", "embedding", "head"]


def test_without_patterns_every_tensor_travels() -> None:
    groups = ParameterGroups()
    assert groups.trained_of(NAMES) == groups.global_of(NAMES) == NAMES
    assert groups.frozen_of(NAMES) == frozenset()


def test_local_tensors_are_in_no_model_and_frozen_ones_in_no_update() -> None:
    groups = ParameterGroups(local=("bn.*", "head"), frozen=("emb*", "he*"))
    assert groups.global_of(NAMES) == ["conv.weight", "embedding"]
    assert groups.frozen_of(NAMES) == {"embedding"}, "a tensor that is in both groups is local"
    assert groups.trained_of(NAMES) == ["conv.weight"]


def test_patterns_that_match_nothing_are_found_in_each_group() -> None:
    groups = ParameterGroups(local=("bn.*", "bm.*"), frozen=("emb*", "pos*"))
    assert unmatched_of(groups, ["*.emma", "conv*"], NAMES) == Unmatched(
        averaged=("*.emma",), local=("bm.*",), frozen=("pos*",)
    )
    assert not unmatched_of(ParameterGroups(local=("head",)), [], NAMES)


def test_an_agent_that_left_its_local_tensors_out_says_which_patterns_match_none() -> None:
    groups = ParameterGroups(local=("bn.*", "bm.*"))
    sent = ["conv.weight"]
    assert unmatched_of(groups, [], sent).local == ("bn.*", "bm.*")
    assert unmatched_of(groups, [], sent, local=["bm.*", "of nobody"]).local == ("bm.*",)
    assert unmatched_of(groups, [], sent, local=[]) == Unmatched()


def test_nothing_to_train_names_the_field() -> None:
    error = NothingToTrain()
    assert error.pointer == "/parameters"
    assert "every tensor of the model matches a pattern of local or frozen" in str(error)


def test_a_pattern_of_any_group_that_matches_nothing_counts() -> None:
    assert not Unmatched()
    for one in (Unmatched(averaged=("a",)), Unmatched(local=("l",)), Unmatched(frozen=("f",))):
        assert one


def test_a_pattern_that_a_user_has_removed_since_is_not_unmatched_any_more() -> None:
    found = Unmatched(averaged=("a", "b"), local=("l",))
    assert found.within(["b", "c"]) == Unmatched(averaged=("b",), local=("l",))
    assert Unmatched(averaged=("a",)).within(["b"]) is None
