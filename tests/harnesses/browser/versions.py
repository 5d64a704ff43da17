"""Pin a model version of a training, unpin it, and fork it, with the buttons of the dashboard."""

import json

from tests.harnesses.browser.chromium import Tab
from tests.harnesses.browser.planning import Check

BUTTONS = "[...document.querySelectorAll('td button[aria-label*=\" the version of round \"]')]"


async def versions(tab: Tab, check: Check) -> None:
    """Use the buttons of the newest version of a training that is paused. The tab ends at the fork."""
    await tab.until(f"{BUTTONS}.length > 0")
    of = str(await tab.run(f"{BUTTONS}[0].getAttribute('aria-label')")).partition(" ")[2]
    await _press(tab, f"Pin {of}")
    await tab.shows(f"Done: Pin {of}.")
    await _press(tab, f"Unpin {of}")
    await tab.shows(f"Done: Unpin {of}.")
    await tab.until(f"{_named(f'Pin {of}')} !== null")
    check(f"{of} is pinned, and unpinned", holds=True)
    await _press(tab, f"Fork {of}")
    await tab.shows("A new training begins with")
    await tab.click(f"Fork {of}")
    name = f"digits, from {of.removeprefix('the version of ')}"
    await tab.until(f"document.querySelector('h1')?.textContent === {json.dumps(name)}")
    status = str(await tab.run("document.querySelector('main .badge').textContent"))
    check(f"it is forked, and the page shows the new training: {status}", holds="created" in status)


async def offered(tab: Tab) -> set[str]:
    """Return the texts of the buttons that versions have."""
    await tab.until(f"{BUTTONS}.length > 0")
    return {*await tab.run(f"{BUTTONS}.map((one) => one.textContent)")}


async def _press(tab: Tab, label: str) -> None:
    """Press the button with this label, once it is there."""
    await tab.until(f"{_named(label)} !== null")
    await tab.run(f"{_named(label)}.click()")


def _named(label: str) -> str:
    return f"document.querySelector({json.dumps(f'button[aria-label={json.dumps(label)}]')})"
