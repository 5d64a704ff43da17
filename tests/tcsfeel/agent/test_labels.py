"""Label counts leave with noise, and only once."""

import json
import stat
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcsfeel.agent import AgentError, NoLabelPrivacy, Profile
from tcsfeel.agent.labels import LARGEST, LabelReleases, with_noise

COUNTS = list(range(100, 150))  # so many that two draws are never the same
DIFFERENT = 0.01  # an epsilon for numbers that all differ


def profile(counts: Any = tuple(COUNTS), epsilon: Any = DIFFERENT, **fields: Any) -> Profile:
    return Profile(**({"data_size": 10_000, "data_distribution": counts, "label_privacy": epsilon} | fields))


def noisy(counts: list[float], epsilon: float) -> list[float]:
    released = with_noise(counts, epsilon)
    assert isinstance(released, list)
    return released


def test_the_noise_is_laplacian_with_a_scale_of_one_over_epsilon() -> None:
    # a Laplacian of scale 20: mean 0, mean distance 20, standard deviation 20 √2; bounds are six standard errors
    noise = [value - 10_000 for value in noisy([10_000.0] * 20_000, 0.05)]
    assert abs(statistics.mean(noise)) < 1.2
    assert abs(statistics.mean(map(abs, noise)) - 20) < 0.9
    assert abs(statistics.pstdev(noise) - 28.28) < 1.4


def test_noisy_counts_are_whole_and_not_negative() -> None:
    counts = noisy([0.0, 1.0, 2.0] * 1000, 0.5)
    assert all(count >= 0 and count.is_integer() for count in counts)
    # a count of 0 is told as 0 where the noise is below 1/2: 1 - exp(-1/4) / 2 = 61 % of the times
    assert 0.55 < sum(count == 0 for count in counts[::3]) / 1000 < 0.67


def test_counts_are_never_all_zero_and_never_beyond_what_json_carries() -> None:
    assert with_noise([0.0, 0.0, 0.0], 1e9) == [1, 1, 1]
    assert with_noise({"cat": 0.0, "dog": 0.0}, 1e9) == {"cat": 1, "dog": 1}
    assert set(with_noise([1.0] * 100, 5e-324)) == {0, LARGEST}


@pytest.mark.parametrize("counts", [[3, 4, 0], np.array([3, 4, 0]), {"a": 3, "b": np.int64(4), "c": 0}])
def test_the_form_of_the_counts_stays(counts: Any) -> None:
    released = LabelReleases().of("c", profile(counts, epsilon=1e9))
    assert released == ({"a": 3, "b": 4, "c": 0} if isinstance(counts, dict) else [3, 4, 0])


def test_without_an_epsilon_and_without_labels_nothing_changes(tmp_path: Path) -> None:
    assert LabelReleases(tmp_path).of("c", profile([0.25, 0.75], epsilon=None)) == [0.25, 0.75]
    assert LabelReleases(tmp_path, 1.0).of("c", profile(None, epsilon=1.0)) is None
    assert list(tmp_path.iterdir()) == []


def test_labels_are_released_once_however_often_they_are_asked_for() -> None:
    releases = LabelReleases()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: releases.of("c", profile()), range(50)))
    assert answers == [answers[0]] * 50
    assert releases.of("other", profile()) != answers[0]
    assert LabelReleases().of("c", profile()) != answers[0], "nothing that the control plane knows leads to the noise"


def test_what_was_released_outlives_the_process_and_the_data(tmp_path: Path) -> None:
    state = tmp_path / "agent" / "state"
    released = LabelReleases(state).of("edge.7", profile())
    assert LabelReleases(state).of("edge.7", profile()) == released
    assert LabelReleases(state).of("edge.7", profile([1, 2], data_size=3)) == released
    (file,) = state.iterdir()
    assert file.name == "edge.7.labels.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert json.loads(file.read_text()) == {"epsilon": DIFFERENT, "counts": released}
    file.unlink()
    assert LabelReleases(state).of("edge.7", profile()) != released


def test_clients_that_share_a_directory_have_releases_of_their_own(tmp_path: Path) -> None:
    releases = LabelReleases(tmp_path)
    assert releases.of("a", profile()) != releases.of("b", profile())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.labels.json", "b.labels.json"]


def test_another_epsilon_would_be_another_release(tmp_path: Path) -> None:
    LabelReleases(tmp_path).of("c", profile(epsilon=1.0))
    with pytest.raises(NoLabelPrivacy, match=r"released with epsilon 1: use it again, or remove .*c\.labels\.json"):
        LabelReleases(tmp_path).of("c", profile(epsilon=2.0))
    forgetful = LabelReleases()
    forgetful.of("c", profile(epsilon=1.0))
    with pytest.raises(NoLabelPrivacy, match=r"epsilon 1: use it again$"):
        forgetful.of("c", profile(epsilon=0.5))


@pytest.mark.parametrize(("option", "own"), [(1.0, None), (1.0, 5.0), (5.0, 1.0)])
def test_of_two_epsilons_the_smaller_counts(tmp_path: Path, option: float, own: float | None) -> None:
    LabelReleases(tmp_path, option).of("c", profile(epsilon=own))
    assert json.loads((tmp_path / "c.labels.json").read_text())["epsilon"] == 1.0


@pytest.mark.parametrize("shares", [[0.5, 0.5], {"a": 0.1, "b": 0.9}, [1, 0], [0, 0], [10.5, 3], [-1, 5], [np.nan, 3]])
def test_shares_are_refused(shares: Any) -> None:
    with pytest.raises(NoLabelPrivacy, match="needs label counts in data_distribution, whole numbers, not shares"):
        LabelReleases().of("c", profile(shares))


def test_more_labels_than_samples_are_refused() -> None:
    with pytest.raises(NoLabelPrivacy, match="one label a sample: the counts add up to 100, data_size is 40"):
        LabelReleases().of("c", profile([50, 50], data_size=40))
    assert LabelReleases().of("c", profile([1], data_size=1, epsilon=1e9)) == [1]


@pytest.mark.parametrize("epsilon", [0, -1.0, np.nan, np.inf, True, "1"])
def test_an_epsilon_is_finite_and_above_zero(epsilon: Any) -> None:
    with pytest.raises(NoLabelPrivacy, match="finite number above 0"):
        LabelReleases().of("c", profile(epsilon=epsilon))
    with pytest.raises(NoLabelPrivacy, match="finite number above 0"):
        LabelReleases(epsilon=epsilon)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"epsilon": 0, "counts": [1]}', '{"epsilon": 1, "counts": null}', '{"counts": [1]}']
)
def test_a_broken_file_stops_the_agent_instead_of_a_second_release(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.labels.json").write_text(text)
    with pytest.raises(AgentError, match=r"c\.labels\.json was not written by an agent: remove it"):
        LabelReleases(tmp_path).of("c", profile())


def test_nothing_leaves_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match="cannot be read"):
        LabelReleases(tmp_path / "file").of("c", profile())
    (tmp_path / "c.labels.json").mkdir()
    with pytest.raises(AgentError, match="cannot be read"):
        LabelReleases(tmp_path).of("c", profile())
    (tmp_path / "dangling").symlink_to(tmp_path / "file" / "below")
    with pytest.raises(AgentError, match="cannot be"):
        LabelReleases(tmp_path / "dangling").of("c", profile())


def test_noise_that_is_not_kept_is_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forgetful = LabelReleases()
    for _ in range(2):
        forgetful.of("edge-7", profile())
    LabelReleases(tmp_path).of("edge-8", profile())
    (warning,) = caplog.messages
    assert "client edge-7 is not stored" in warning
