"""Find out why accuracy is low, as a stranger would: from the page alone, by links and texts that it shows.

Nothing is used here that the page does not show: no address, no id, no call of the API.
"""

import json
import time

from tests.harnesses.browser.chromium import Tab
from tests.harnesses.browser.faulty import SITE
from tests.harnesses.browser.planning import Check

MOST_SECONDS = 120.0
CAUSE = "holds values that are not finite"
ALARM = "[...document.querySelectorAll('.attention li')][0]"


async def find_out(tab: Tab, check: Check) -> None:
    """Go from the overview to the site, to what its devices return, and to the round in which that began.

    The tab is at the overview, and ends there.
    """
    began = time.monotonic()
    await tab.until(f"{ALARM}?.innerText.includes({json.dumps(CAUSE)}) ?? false")
    said = str(await tab.run(f"{ALARM}.innerText"))
    told = f"All of them have the tag site: {SITE}" in said and said.startswith("ACT NOW")
    check("1. the first thing that needs attention names what fails, and the site that all of them share", holds=told)
    await tab.run(f"{ALARM}.querySelector('summary').click()")
    member = str(await tab.run(f"{ALARM}.querySelector('.ids a').textContent"))
    await tab.run(f"{ALARM}.querySelector('.ids a').click()")
    await tab.shows("Its part in rounds")
    await tab.until(f"document.querySelector('h1')?.textContent === {json.dumps(member)}")
    await tab.shows("training, a fault of its trainer")
    check(
        f"2. one of them, {member}, failed in its own trainer, so neither its link nor the server is at fault",
        holds=True,
    )
    await tab.until("document.querySelector('main td a[href*=\"/trainings/\"][href*=round]') !== null")
    await tab.run("document.querySelector('main td a[href*=\"/trainings/\"][href*=round]').click()")
    await tab.until("document.querySelectorAll('.timeline li').length > 0")
    await tab.shows("rejected: the update cannot be used")
    parts = await tab.run(
        "[...document.querySelectorAll('.timeline li')].map((one) => ['.who', '.state', '.why']"
        ".map((part) => one.querySelector(part).textContent))"
    )
    lost = [(who, why) for who, state, why in parts if "rejected" in state]
    alike = bool(lost) and all(who.startswith(f"{SITE}-") and CAUSE in why for who, why in lost)
    check(
        f"3. the round lost {len(lost)} of {len(parts)} updates, which cannot be used, all of that site: "
        f"so the model does not learn from it: {lost}",
        holds=alike,
    )
    spent = time.monotonic() - began
    check(f"a stranger finds out from the page alone, in {spent:.1f} s", holds=spent < MOST_SECONDS)
    await tab.click("Overview")
    await tab.shows("Needs attention now")
