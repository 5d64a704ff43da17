"""Wrong rules of selection, hyperparameters and trainings."""

from collections.abc import Iterator
from typing import Any

from tests.routers.bad_input.values import HOSTILE_TEXT, LONG, NOT_A_COUNT, NOT_A_NUMBER, NOT_TEXT, Case, one, within

DIVERGENCE = "/parameters/divergence_target"
RULES: list[Case] = [
    *one("strategy", None, *NOT_TEXT, "", "best", LONG, "\0"),
    *one("min_clients", *NOT_A_COUNT, 0, 100_001),
    *one("max_clients", *NOT_A_COUNT, 0, 100_001),
    ({"min_clients": 5, "max_clients": 4}, "/max_clients"),
    ({"min_clients": 31}, "/max_clients"),
    ({"max_clients": 9}, "/max_clients"),
    *one("budget_constraint", True, "7", [], 0, -1.0, 1e300),
    *one("largest_multiple", True, "7", [], 0, 0.99, 1001, 1e300),
    *one("weights", None, 7, [], "x"),
    ({"weights": {"fairness": -1}}, "/weights/fairness"),
    ({"weights": {"fairness": None, "compute": "1"}}, ("/weights/compute", "/weights/fairness")),
    ({"weights": {"speed": 1}}, "/weights/speed"),
    *one("parameters", None, 7, [], "x", {f"p{n}": n for n in range(101)}),
    *(({"parameters": {"divergence_target": value}}, DIVERGENCE) for value in NOT_A_NUMBER),
    ({"parameters": {"divergence_target": -1}}, DIVERGENCE),
    ({"strategy": "oort", "parameters": {"divergence_target": 1}}, DIVERGENCE),
    ({"strategy": "random", "parameters": {"a/b": 1, "\0": 2}}, ("/parameters/a~1b", "/parameters/\0")),
    ({"max_clients": 9, "parameters": {"factor": 1}}, ("/max_clients",)),
    ({"parameters": {"factor": 1}}, ("/parameters/factor",)),
    *one("unknown", 1),
]


def number(field: str, *values: Any) -> Iterator[Case]:
    """Wrong values of a field that may be a schedule: an object without a kind of schedule is none."""
    yield from (({field: value}, f"/{field}/schedule" if isinstance(value, dict) else f"/{field}") for value in values)


SCALAR_TROUBLE: tuple[Any, ...] = ([], {}, [1], {"a": 1}, 2**53 + 1, -(10**400), "a\0", "\ud800", "x" * 1025)
HYPERPARAMETERS: list[Case] = [
    *number("local_epochs", *NOT_A_COUNT, 0, 10**7),
    *number("learning_rate", *NOT_A_NUMBER, 0, -1.0, 1e300),
    *number("batch_size", *NOT_A_COUNT, 0),
    *one("proximal_mu", True, "7", [], -0.1),
    *one("server_learning_rate", True, "7", 0),
    *one("server_momentum", True, "7", 1, -0.1),
    *one("server_nesterov", 1, "true", []),
    *one("server_balance_penalty", True, "7", 0, -0.1, 1e7),
    *one("server_second_momentum", True, "7", 1, -0.1),
    *one("server_adaptivity", True, "7", 0, -0.1),
    *one("server_clip_norm", True, "7", 0, -0.1, 1e300),
    *one("server_largest_multiple", True, "7", 0.9, 1e13),
    *one("server_largest_share", True, "7", 0, 0.001, 1.1),
    *one("server_outlier_factor", True, "7", 1, -5, 1e13),
    *one("server_trim_fraction", True, "7", 0, 0.5, -0.1),
    *one("server_byzantine_clients", True, "7", 1.5, -1, 10**6),
    *number("mine", *SCALAR_TROUBLE),
    ({"": 1}, "/"),
    ({"a\0": 1}, "/a\0"),
    ({"x" * 257: 1}, "/" + "x" * 257),
    ({f"key{n}": n for n in range(257)}, ""),
]
TRAINING: list[Case] = [
    *one("name", None, *NOT_TEXT, "", "x" * 257, *HOSTILE_TEXT),
    *one("target_accuracy", True, "0.9", [], 0, -0.1, 1.1),
    *one("max_rounds", True, "7", 7.0, 0, -1, 10**7, 10**400),
    *one("recipe", 7, [], {}, True, "", "tcs-feel-ring", "mean", LONG),
    *one("aggregation", None, *NOT_TEXT, "", "mean", LONG),
    *one("topology", None, *NOT_TEXT, "ring"),
    *[
        ({"topology": "relay", **other}, "/topology")
        for other in (
            {"aggregation": "median"},
            {"recipe": "tcs-feel", "aggregation": "fednova"},
            {"hyperparameters": {"server_clip_norm": 1.0}},
            {"uploads": {"encoding": "int8"}},
            {"uploads": {"compression": "zstd"}},
            {"parameters": {"frozen": ["x"]}},
        )
    ],
    *[
        ({"round_policy": {"stragglers": "carry"}, **other}, "/round_policy/stragglers")
        for other in (
            {"aggregation": "median"},
            {"aggregation": "krum"},
            {"aggregation": "scaffold"},
            {"topology": "relay"},
        )
    ],
    *one("seed", *NOT_A_COUNT, 2**53),
    *one("selection", None, 7, [], "x"),
    *within("selection", RULES),
    *one("hyperparameters", None, 7, [], "x"),
    *within("hyperparameters", HYPERPARAMETERS),
    *one("round_policy", None, 7, [], "x"),
    *within(
        "round_policy",
        [
            *number("deadline_seconds", *NOT_A_NUMBER, 0, -1, 1e300),
            *one("quorum", *NOT_A_NUMBER, 0, 1.1, -1),
            *one("over_selection", *NOT_A_NUMBER, 0.9, 11),
            *one("grace_seconds", *NOT_A_NUMBER, -1, 1e300),
            *one("max_failed_rounds", *NOT_A_COUNT, 0),
            *one("max_wait_seconds", "1", -1, 1e8),
            *one("stragglers", None, *NOT_TEXT, "", "wait"),
            *one("max_staleness", *NOT_A_COUNT, 0, 1001),
            *one("local_work", None, *NOT_TEXT, "", "some"),
            *one("unknown", 1),
        ],
    ),
    *one("evaluation", None, 7, [], "x"),
    *within(
        "evaluation", [*one("clients", *NOT_A_COUNT, 100_001), *one("tags", None, 7, "a:b", []), *one("unknown", 1)]
    ),
    *one("uploads", None, 7, [], "int8"),
    *within(
        "uploads",
        [
            *one("encoding", None, *NOT_TEXT, "", "INT8", "int4", LONG),
            *one("compression", None, *NOT_TEXT, "", "gzip", "ZSTD", True, LONG),
            *one("unknown", 1),
        ],
    ),
    *one("statistics", None, 7, "x", {}, ["x"] * 65),
    ({"statistics": ["a\0"]}, "/statistics/0"),
    ({"statistics": ["a", ""]}, "/statistics/1"),
    ({"statistics": ["x" * 257]}, "/statistics/0"),
    *one("parameters", None, 7, "x", ["x"]),
    *[({"parameters": {name: ["x"] * 65}}, f"/parameters/{name}") for name in ("averaged", "local", "frozen")],
    ({"parameters": {"local": ["a", ""]}}, "/parameters/local/1"),
    ({"parameters": {"local": ["a", "**"]}}, "/parameters/local/1"),
    ({"parameters": {"frozen": ["*"]}}, "/parameters/frozen/0"),
    ({"parameters": {"local": ["a"], "frozen": ["b", "a"]}}, "/parameters/frozen/1"),
    ({"parameters": {"local": [f"{number}{'x' * 200}" for number in range(11)]}}, "/parameters/local"),
    ({"parameters": {"personal": ["a"]}}, "/parameters/personal"),
    ({"statistics": ["a"], "parameters": {"averaged": ["b"]}}, "/statistics"),
    ({"aggregation": "krum", "selection": {"min_clients": 1, "max_clients": 4}}, "/selection/max_clients"),
    (
        {"aggregation": "scaffold", "hyperparameters": {"server_clip_norm": 1.5}},
        "/hyperparameters/server_clip_norm",
    ),
    (
        {"aggregation": "fednova", "hyperparameters": {"server_clip_norm": 1.5}},
        "/hyperparameters/server_clip_norm",
    ),
    *(
        (
            {"aggregation": "scaffold", "hyperparameters": {"learning_rate": rate}},
            f"/hyperparameters/learning_rate{place}",
        )
        for rate, place in [
            (1e-300, ""),
            (9e-10, ""),
            ({"schedule": "step", "init_value": 0.1, "gamma": 0.5, "step_size": 1}, "/end_value"),
            ({"schedule": "cosine", "init_value": 0.1, "end_value": 1e-10, "rounds": 9}, "/end_value"),
            ({"schedule": "by_round", "values": {"1": 0.1, "7": 1e-10}}, "/values/7"),
        ]
    ),
    (
        {"aggregation": "multi_krum", "hyperparameters": {"server_byzantine_clients": 14}},  # 31 of at most 30
        "/selection/max_clients",
    ),
    *one("unknown", 1),
    *one("status", "running"),
]
