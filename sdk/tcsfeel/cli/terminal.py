"""Views that a terminal keeps up to date, where it can: with the package ``rich``, which the extra `terminal` installs.

Elsewhere, such as in a file or a log, commands print plain lines.
"""

import sys
from importlib.util import find_spec

import click

BLOCKS = "▁▂▃▄▅▆▇█"
plain_option = click.option("--plain", is_flag=True, help="Print plain lines, also on a terminal")


def is_live(*, plain: bool, as_json: bool) -> bool:
    """Tell whether a command should show a view that moves."""
    return not plain and not as_json and sys.stdout.isatty() and find_spec("rich") is not None


def curve(values: list[float | None], width: int) -> str:
    """Draw the newest values as a line of blocks, from the lowest to the highest one. A gap stands for None."""
    shown = values[-width:]
    known = [value for value in shown if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    span = (high - low) or 1.0
    return "".join(" " if one is None else BLOCKS[round((one - low) / span * (len(BLOCKS) - 1))] for one in shown)


def bar(share: float, width: int) -> str:
    """Draw a bar over a share of `width`; `share` is in [0, 1]."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "·" * (width - filled)
