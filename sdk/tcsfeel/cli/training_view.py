"""The live view of a training: its curve, the clients of its round, and what fails and why."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcsfeel.cli.answers import Fields
from tcsfeel.cli.terminal import bar, curve

MOST_CLIENTS = 15  # of a round that are listed
CURVE = 60  # rounds
BAR = 20  # characters
_SIGNS = {
    "failed": ("✗", "red"),
    "rejected": ("✗", "red"),
    "skipped": ("-", "yellow"),
    "carried": ("→", "yellow"),
    "training": ("…", "cyan"),
    "pending": ("…", "cyan"),
    "received": ("✓", "green"),
}
"""The sign and the colour of each status of a participation, the most important ones first."""


class TrainingView:
    """What is shown of one training. `take` learns of it, `render` draws it."""

    def __init__(self) -> None:
        self._values: dict[int, float | None] = {}
        self._training: Fields | None = None
        self._round: Fields | None = None

    def take(self, training: Fields, rounds: Sequence[Fields]) -> None:
        """Note the state of the training and of its newest rounds, in any order."""
        self._training = training
        for item in rounds:
            self._values[item.whole("number")] = item.number("goal_value") if item.has("goal_value") else None
        self._round = max(rounds, key=lambda item: item.whole("number"), default=self._round)

    def render(self) -> RenderableType:
        """Draw what is known."""
        if self._training is None:
            return Text("…")
        parts: list[RenderableType] = [_head(self._training), self._curve(self._training)]
        if self._round is not None:
            parts += [Text(), _round_line(self._round), _clients(self._round)]
        return Group(*parts)

    def _curve(self, training: Fields) -> Text:
        goal = training.part("goal")
        values = [self._values[number] for number in sorted(self._values)]
        newest = f"{training.number('goal_value'):.4f}" if training.has("goal_value") else "-"
        best = f"  best {training.number('best_value'):.4f}" if training.has("best_value") else ""
        target = f"  target {goal.number('target'):g}" if goal.has("target") else ""
        line = Text(f"{goal.text('metric')} {newest}{best}{target}  ")
        return line.append(curve(values, CURVE), style="cyan")


def _head(training: Fields) -> Text:
    line = Text(f"{training.text('name')}  {training.text('id')}  ", style="bold")
    line.append(training.text("status"))
    line.append(f"  round {training.whole('current_round')} of {training.whole('max_rounds')}")
    progress = training.part("progress") if training.has("progress") else None
    if progress is not None and progress.has("reason"):
        line.append(f"\n{progress.text('state')}: {progress.text('reason')}", style="yellow")
    return line


def _round_line(item: Fields) -> Text:
    cost = f"  link time {item.number('communication_cost'):.2f} s" if item.has("communication_cost") else ""
    line = Text(f"round {item.whole('number')}  {item.text('status')}{cost}", style="bold")
    if item.has("failure_reason"):
        line.append(f"\n{item.text('failure_reason')}", style="red")
    return line


def _clients(item: Fields) -> RenderableType:
    """Make a row for each client, those with trouble first, with a bar as long as it took."""
    order = list(_SIGNS)
    parts = [Fields(one, "participation") for one in item.items("participations")]
    parts.sort(key=lambda part: (_place(order, part), part.text("client_id")))
    seconds = [part.number("seconds") for part in parts if part.has("seconds")]
    longest = max(seconds, default=0.0) or 1.0
    table = Table.grid(padding=(0, 1))
    for part in parts[:MOST_CLIENTS]:
        sign, colour = _SIGNS.get(part.text("status"), ("?", "white"))
        took = part.number("seconds") if part.has("seconds") else 0.0
        reason = part.text("reason") if part.has("reason") else ""
        table.add_row(
            Text(sign, style=colour),
            Text(part.text("client_id")),
            Text(bar(took / longest, BAR), style=colour),
            Text(f"{took:.1f} s" if part.has("seconds") else ""),
            Text(reason, overflow="ellipsis", no_wrap=True),
        )
    if len(parts) <= MOST_CLIENTS:
        return table
    return Group(table, Text(f"and {len(parts) - MOST_CLIENTS} more"))


def _place(order: list[str], part: Fields) -> int:
    status = part.text("status")
    return order.index(status) if status in order else len(order)
