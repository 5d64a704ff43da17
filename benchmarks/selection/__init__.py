"""Train for real with every selection strategy, and compare each of them with random selection.

Every contender trains a perceptron of 64 hidden units by federated averaging, with the same data, links, initial model,
failures and number of rounds. 10 clients take part in each round. An update that fails does not count, but its link
time does. The default seeds are 201 to 205. The strategies were tuned with other seeds, below 100. With `--recipes`,
the recipes of trainings are compared, which also say how updates are combined.
"""

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

from benchmarks.machine import Times
from benchmarks.selection import recipes, report
from benchmarks.selection.bars import RELAYED, SUBJECT, Verdict, verdicts
from benchmarks.selection.comparison import Comparison
from benchmarks.selection.data import PARTITIONS, Dataset, digits, mnist
from benchmarks.selection.knowledge import LabelKnowledge
from benchmarks.selection.plots import plot
from benchmarks.selection.trial import Contender, Setting, Trace, train_each
from tcsfeel.aggregation import WEIGHTS
from tcsfeel.aggregation.config import Aggregation
from tcsfeel.selection import strategies
from tcsfeel.selection.types import LARGEST_MULTIPLE

BASELINE = "random"
PER_ROUND = 10
ROUNDS, SEEDS = 200, [201, 202, 203, 204, 205]
RULES: tuple[Aggregation, ...] = tuple(WEIGHTS)
LABELS: tuple[LabelKnowledge, ...] = get_args(LabelKnowledge)


def main(arguments: Sequence[str]) -> int:
    """Compare every selection strategy with random selection by real training; status 1 if tcs-feel misses a bar."""
    options = _parser().parse_args(arguments)
    contenders = recipes.contenders() if options.recipes else _contenders(options)
    seeds = options.seeds or (list(recipes.SEEDS) if options.recipes else SEEDS)
    rounds = options.rounds or (recipes.ROUNDS if options.recipes else ROUNDS)
    settings = [
        Setting(dataset, partition, clients, PER_ROUND, rounds)
        for dataset in (("digits", "mnist") if options.mnist else ("digits",))
        for partition in options.partitions or (recipes.PARTITIONS if options.recipes else PARTITIONS)
        for clients in options.clients
    ]
    began, times, results = time.monotonic(), Times.now(), {}
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes of --jobs inherit it
    pages, judged = [report.heading(rounds, seeds)], list[Verdict]()
    print(pages[0])
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for setting, traces in _traces(pool, settings, contenders, seeds, options.mnist, options.rate):
            compared = {
                name: {one: Comparison.of(found, traces[name]) for one, found in traces.items()}
                for name in ((recipes.FEDAVG, recipes.SAME) if options.recipes else (BASELINE,))
            }
            for name, found in compared.items():
                print(report.table(setting, name, found), flush=True)
                pages.append(report.markdown(setting, name, found))
            if options.recipes:
                judged += recipes.verdicts(setting, compared[recipes.FEDAVG], compared[recipes.SAME])
            else:
                results[setting] = compared[BASELINE]
            if options.plots:
                plot(setting, traces, options.plots)
    judged += verdicts(results)
    pages.append("".join(f"- {verdict}\n" for verdict in judged))
    if options.markdown:
        options.markdown.write_text("\n".join(pages))
    print(f"\n{time.monotonic() - began:.0f} s with {options.jobs} processes; {times.report(sum(os.times()[:4]))}")
    print("\n".join(map(str, judged)))
    missed = [verdict.bar for verdict in judged if not verdict.held]
    print(f"selection: {len(judged) - len(missed)} of {len(judged)} bars hold; missed: {'; '.join(missed) or 'none'}")
    return 1 if missed else 0


def _parser() -> argparse.ArgumentParser:
    known = [*strategies(), RELAYED]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks selection", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipes", action="store_true", help="compare recipes, which say how updates are combined as well"
    )
    parser.add_argument("--rounds", type=int, help="of each training (200; 100 with --recipes)")
    parser.add_argument("--seeds", type=int, nargs="+", help="(201 to 205; 401 to 420 with --recipes)")
    parser.add_argument("--partitions", nargs="+", help="shards-S, dirichlet-A or iid")
    parser.add_argument("--clients", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--strategies", nargs="+", choices=known, default=known, help="random is always among them")
    parser.add_argument(
        "--labels", nargs="+", choices=LABELS, default=["exact"], help=f"that {SUBJECT} goes by, in turn"
    )
    parser.add_argument(
        "--rules", nargs="+", choices=RULES, default=["fedavg"], help="of aggregation; fedavg is always among them"
    )
    parser.add_argument(
        "--multiples", type=float, nargs="+", default=[], help="that all but random go by, in turn; 0 is no limit"
    )
    parser.add_argument("--rate", type=float, help="of the local steps, in place of the data set's")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--mnist", type=Path, metavar="FILE", help="an .npz file, or a directory of idx files")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="where to write an SVG for every setting")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="where to write the tables")
    return parser


def _contenders(options: argparse.Namespace) -> list[Contender]:
    return [
        _with(contender, rule)
        for rule in dict.fromkeys(("fedavg", *options.rules))
        for name in dict.fromkeys((BASELINE, *options.strategies))
        for contender in contenders_of(name, options.labels, options.multiples)
    ]


def contenders_of(name: str, labels: Sequence[LabelKnowledge], multiples: Sequence[float]) -> list[Contender]:
    """Return a strategy's contenders. Without `multiples` only ours has a limit; the others are as published."""
    if name == BASELINE:
        return [Contender(name, name)]
    ours = name in {SUBJECT, RELAYED}
    kinds: Sequence[LabelKnowledge] = labels if name == SUBJECT else ["exact"]
    contenders = [
        Contender(
            name if kind == "exact" else f"{name} + {kind}",
            SUBJECT if ours else name,
            topology="relay" if name == RELAYED else "star",
            labels=kind,
            largest_multiple=LARGEST_MULTIPLE if ours else None,
        )
        for kind in kinds
    ]
    if not multiples:
        return contenders
    return [
        replace(one, name=f"{one.name}, {_limit(multiple)}", largest_multiple=multiple or None)
        for one in contenders
        for multiple in multiples
    ]


def _limit(multiple: float) -> str:
    return f"at most {multiple:g}x" if multiple else "no limit"


def _with(contender: Contender, rule: Aggregation) -> Contender:
    return contender if rule == "fedavg" else replace(contender, name=f"{contender.name}, {rule}", rule=rule)


def _traces(  # noqa: PLR0917  (what a training depends on)
    pool: Executor,
    settings: Sequence[Setting],
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    source: Path | None,
    rate: float | None,
) -> Iterator[tuple[Setting, dict[str, list[Trace]]]]:
    """Yield each setting with the traces of each contender, in the order of the seeds."""
    running = [
        (
            setting,
            {contender.name: pool.submit(_train, setting, contender, seeds, source, rate) for contender in contenders},
        )
        for setting in settings
    ]
    for setting, futures in running:
        yield setting, {name: future.result() for name, future in futures.items()}


def _train(
    setting: Setting, contender: Contender, seeds: Sequence[int], source: Path | None, rate: float | None
) -> list[Trace]:
    dataset = _dataset(setting.dataset, source)
    if rate is not None:
        dataset = replace(dataset, recipe=dataset.recipe._replace(rate=rate))
    return train_each(dataset, setting, contender, seeds)


@cache
def _dataset(name: str, source: Path | None) -> Dataset:
    return digits() if source is None or name == "digits" else mnist(source)
