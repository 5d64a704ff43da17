import math

import numpy as np
import pytest

from app.demo.network import BANDWIDTH, COMPUTE, LATENCY, RELIABILITY, Device, Network, link_costs, network


def test_a_link_is_slower_with_distance_and_ends_at_its_reach() -> None:
    costs = link_costs(np.array([[0.0, 0.0], [100.0, 0.0], [0.0, 300.0], [0.0, 301.0]]))
    assert (np.diag(costs) == 0).all()
    assert (costs == costs.T).all()
    assert costs[0, 1] == pytest.approx(8 / 100 * 2)  # half of 100 Mbps at 100 m
    assert costs[0, 2] == pytest.approx(8 / 100 * 10)  # a tenth at 300 m
    assert costs[0, 3] == math.inf


def test_a_link_that_is_not_in_the_matrix_is_as_slow_as_the_slowest() -> None:
    costs = np.array([[0, 0.1, math.inf], [0.1, 0, 0.8], [math.inf, 0.8, 0]])
    found = Network((), costs)
    assert [found.speed_between(0, other) for other in (1, 2)] == [pytest.approx(10), pytest.approx(1.25)]


def test_a_device_takes_the_time_of_its_link_and_its_compute() -> None:
    device = Device(site=0, bandwidth=8.0, latency=50.0, compute=0.1, reliability=1.0)
    assert device.transfer_seconds(250_000) == pytest.approx(1.0 + 0.05)  # 1 MB at 8 Mbps
    assert device.fit_seconds(250_000, samples=10, epochs=2) == pytest.approx(2 * 1.05 + 0.3)  # 30 Mflop at 0.1 Gflop/s
    assert device.evaluate_seconds(250_000, samples=10) == pytest.approx(1.05 + 0.05 + 0.05)  # 5 Mflop


def test_devices_differ_within_the_stated_limits_and_stand_in_clusters() -> None:
    made = network(50, np.random.default_rng(1))
    assert made.sites == 4
    limits = {"bandwidth": BANDWIDTH, "latency": LATENCY, "compute": COMPUTE, "reliability": RELIABILITY}
    for name, (low, high) in limits.items():
        values = [getattr(device, name) for device in made.devices]
        assert low <= min(values) < max(values) <= high
        assert np.std(values) > 0.2 * (high - low) / 2
    near = np.array([a.site == b.site for a in made.devices for b in made.devices]).reshape(50, 50)
    assert np.isfinite(made.costs)[near].mean() > 0.9
    assert np.isinf(made.costs[~near]).any()
