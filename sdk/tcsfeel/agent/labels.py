"""Add noise to label counts before they leave the device: epsilon-differential privacy, released once.

Each count gets Laplace noise of scale 1/epsilon (Dwork, McSherry, Nissim, Smith, "Calibrating noise to sensitivity in
private data analysis", 2006): if each sample has one label, one sample more or less changes one count by one. The
released counts are whole numbers, so that the low bits of floating point reveal nothing more (Mironov, "On significance
of the least significant bits for differential privacy", 2012). None is below 0, and if all would be 0, all are 1.

A second draw would average the noise out and spend epsilon again. So the released counts are kept, in a file or in this
object, and always sent again, even if the data changes.
"""

import json
import logging
import math
import secrets
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tcsfeel import private
from tcsfeel.agent.errors import AgentError, NoLabelPrivacy
from tcsfeel.agent.trainer import Profile

Distribution = list[float] | dict[str, float]

LARGEST = 2**53  # counts that JSON carries exactly

_log = logging.getLogger(__name__)
_random = secrets.SystemRandom()


class LabelReleases:
    """The released label counts of the agents of this process.

    Args:
        directory: where the released counts are kept; None keeps them as long as this object exists.
        epsilon: for all agents, even if their profile has no `label_privacy`. If both are set, the smaller one counts.

    Raises:
        NoLabelPrivacy: `epsilon` cannot be one.
    """

    def __init__(self, directory: Path | None = None, epsilon: float | None = None) -> None:
        self._directory = directory
        self._epsilon = None if epsilon is None else _checked(epsilon)
        self._kept: dict[str, tuple[float, Distribution]] = {}
        self._lock = threading.Lock()

    def of(self, client_id: str, profile: Profile) -> Distribution | None:
        """Return the profile's distribution in the form that may leave the device.

        Raises:
            NoLabelPrivacy: the distribution or the epsilon is not suitable, or another epsilon was used before.
            AgentError: the file cannot be read or written.
        """
        plain = _plain(profile)
        wanted = [_checked(one) for one in (self._epsilon, profile.label_privacy) if one is not None]
        if plain is None or not wanted:
            return plain
        epsilon = min(wanted)
        _check_counts(list(plain.values()) if isinstance(plain, dict) else plain, profile.data_size)
        with self._lock:
            if client_id not in self._kept:
                self._kept[client_id] = self._read(client_id) or self._release(client_id, plain, epsilon)
            spent, released = self._kept[client_id]
        if spent != epsilon:
            where = "" if self._directory is None else f", or remove {self._file(client_id)} to release them again"
            raise NoLabelPrivacy(f"the labels were already released with epsilon {spent:g}: use it again{where}")
        return released

    def _release(self, client_id: str, plain: Distribution, epsilon: float) -> tuple[float, Distribution]:
        noisy = with_noise(plain, epsilon)
        if self._directory is None:
            _log.warning(
                "the label noise of client %s is not stored, so each start reveals more labels:"
                " give it a directory with --state DIR",
                client_id,
            )
            return epsilon, noisy
        text = json.dumps({"epsilon": epsilon, "counts": noisy})
        file = self._file(client_id)
        try:
            private.write(file, text.encode())
        except OSError as error:
            raise AgentError(f"the label noise cannot be kept in {file}: {error.strerror}") from error
        return epsilon, noisy

    def _read(self, client_id: str) -> tuple[float, Distribution] | None:
        if self._directory is None:
            return None
        file = self._file(client_id)
        try:
            found = json.loads(file.read_text())
            return _checked(found["epsilon"]), _floats(found["counts"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise AgentError(f"{file} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, AttributeError, NoLabelPrivacy) as error:
            raise AgentError(f"{file} was not written by an agent: remove it to release the labels again") from error

    def _file(self, client_id: str) -> Path:
        return (self._directory or Path()) / f"{client_id}.labels.json"


def with_noise(counts: Distribution, epsilon: float) -> Distribution:
    """Return counts with Laplace noise of scale 1/epsilon: whole numbers of at least 0, not all 0."""
    values = counts.values() if isinstance(counts, dict) else counts
    noisy = [float(round(min(max(value + _laplace() / epsilon, 0.0), LARGEST))) for value in values]
    if not any(noisy):
        noisy = [1.0] * len(noisy)
    return dict(zip(counts, noisy, strict=True)) if isinstance(counts, dict) else noisy


def _laplace() -> float:
    """Draw Laplace noise of scale 1, as the difference of two exponential draws."""
    return _random.expovariate(1.0) - _random.expovariate(1.0)


def _plain(profile: Profile) -> Distribution | None:
    given = profile.data_distribution
    return None if given is None else _floats(given)


def _floats(given: Mapping[str, Any] | Iterable[Any]) -> Distribution:
    if isinstance(given, Mapping):
        return {str(label): float(value) for label, value in given.items()}
    return [float(value) for value in given]


def _checked(epsilon: object) -> float:
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < math.inf:
        raise NoLabelPrivacy(f"label_privacy must be an epsilon, a finite number above 0, not {epsilon!r}")
    return float(epsilon)


def _check_counts(counts: list[float], data_size: int) -> None:
    total = sum(counts)
    if any(count < 0 or not count.is_integer() for count in counts) or total <= min(1, data_size - 1):
        raise NoLabelPrivacy("label_privacy needs label counts in data_distribution, whole numbers, not shares")
    if total > data_size:
        raise NoLabelPrivacy(
            f"label_privacy needs one label a sample: the counts add up to {total:g}, data_size is {data_size}"
        )
