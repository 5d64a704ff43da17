"""Plot four panels for each setting: accuracy by rounds, by link time and by modelled time, and participations."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.selection.comparison import smoothed
from benchmarks.selection.trial import Setting, Trace

LOWEST = 0.7  # of the best accuracy; below it, all contenders are about the same


def plot(setting: Setting, traces: Mapping[str, Sequence[Trace]], directory: Path) -> Path:
    """Write DATASET-PARTITION-N.svg with medians over the seeds, round by round, of smoothed accuracies."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{setting.dataset}-{setting.partition}-{setting.clients}.svg"
    with mpl.rc_context():
        mpl.rc("svg", hashsalt="selection", fonttype="none")  # so the same traces give the same file
        mpl.rc("font", size=9)
        mpl.rc("axes", grid=True)
        mpl.rc("grid", alpha=0.3)
        figure = Figure(figsize=(9, 6.5), layout="constrained")
        axes = figure.subplots(2, 2)
        for name, found in traces.items():
            _draw(axes.ravel().tolist(), name, found)
        best = max(line.get_ydata().max() for line in axes[0, 0].get_lines())
        titles = ("rounds", "link time, s", "modelled time, s", "clients, most often selected first")
        for panel, title in zip(axes.ravel(), titles, strict=True):
            panel.set_xlabel(title)
        for panel in axes.ravel()[:3]:
            panel.set_ylabel("accuracy on held-out data")
            panel.set_ylim(bottom=LOWEST * best)
        axes[1, 1].set_ylabel("times selected, mean over the seeds")
        figure.suptitle(f"{setting.dataset}, {setting.partition}, {setting.per_round} of {setting.clients} clients")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.savefig(file, metadata={"Date": None})
    return file


def _draw(panels: list[Axes], name: str, traces: Sequence[Trace]) -> None:
    accuracy = np.median([smoothed(trace.accuracy) for trace in traces], axis=0)
    cost, seconds = (
        np.median([np.cumsum(getattr(trace, field)) for trace in traces], axis=0)[-len(accuracy) :]
        for field in ("cost", "seconds")
    )
    rounds = np.arange(len(accuracy)) + len(traces[0].accuracy) - len(accuracy) + 1
    for panel, against in zip(panels, (rounds, cost, seconds), strict=False):
        panel.plot(against, accuracy, label=name, linewidth=1.2)
    panels[3].plot(np.mean([np.sort(trace.counts)[::-1] for trace in traces], axis=0), label=name, linewidth=1.2)
