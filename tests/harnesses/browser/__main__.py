"""Run the command of ``make browser``.

It compares every view with a baseline (`tests.harnesses.browser.baseline`). Then it starts a federation in which the
devices of one site return NaN after an update, and goes through the views and actions of the dashboard in a real
Chromium: it finds the fault from the overview alone, isolates a client, pauses and resumes the training, starts another
one from the form, and compares both. Then it kills a server behind the page. With ``--pictures`` it stores a picture of
each view, and with ``--axe`` axe-core looks for what keeps people out.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from app.http.quotations import HIDDEN
from tests.harnesses.browser.baseline import Baseline
from tests.harnesses.browser.chromium import Tab, browser, installed
from tests.harnesses.browser.faulty import SITE
from tests.harnesses.browser.federation import GONE, Federation, federation, over_relays
from tests.harnesses.browser.looks import SETTLED_SECONDS, Looks
from tests.harnesses.browser.outage import log_in, outage
from tests.harnesses.browser.planning import MISTAKES, compare, enter, form, moved, opened, start
from tests.harnesses.browser.stranger import find_out
from tests.harnesses.browser.versions import offered, versions

MARKUP = "<b onclick=alert(1)>markup</b>"


class Walk:
    """One walk through the dashboard, with the problems that it found."""

    def __init__(self, tab: Tab, found: Federation, pictures: Path | None, axe: str | None) -> None:
        self._tab = tab
        self._found = found
        self._looks = Looks(tab, self._check, pictures, axe)
        self.problems: list[str] = []

    async def all(self) -> None:
        """Go through every view."""
        await self._tab.until("document.querySelector('#key') !== null")
        await self._looks.at("login")
        await self._log_in()
        await find_out(self._tab, self._check)
        await self._overview()
        await self._client()
        await self._training()
        await self._plans()
        await self._others()
        self._check_calls()
        await self._as_viewer()

    def _check(self, what: str, *, holds: bool) -> None:
        print(f"{'ok    ' if holds else 'MISSED'} {what}", flush=True)
        if not holds:
            self.problems.append(what)

    async def _log_in(self, key: str | None = None) -> None:
        await log_in(self._tab, self._found.key if key is None else key)

    async def _overview(self) -> None:
        await self._tab.shows("Needs attention now")
        await self._tab.shows(f"All of them have the tag site: {SITE}")
        await self._tab.shows(f"{GONE}: locked out by the breaker")
        await self._tab.shows("holds values that are not finite")
        self._check("the overview names the site that is at fault, and the reason", holds=True)
        await self._looks.at("overview")
        self._found.plane.post("/v1/trainings", {"name": MARKUP})
        await self._tab.shows(MARKUP)
        self._check("markup in a name is shown as text", holds=True)

    async def _client(self) -> None:
        await self._go(f"clients/{SITE}-1")
        await self._tab.shows("What it claims, and what was measured")
        await self._looks.at("client")
        await self._tab.click("Isolate it")
        await self._tab.shows("No round selects it")
        await self._tab.click("Isolate it")
        await self._tab.shows("It was opened by hand")
        await self._tab.click("Reset its breaker")
        await self._tab.click("Reset its breaker")
        await self._tab.shows("Done: Reset its breaker")
        await self._tab.shows("How it changed")
        await self._tab.until("document.querySelectorAll('svg.bar rect').length > 1")
        self._check("a client is isolated, and its breaker is reset", holds=True)
        await self._looks.at("breaker")

    async def _training(self) -> None:
        await self._go(f"trainings/{self._found.training}")
        await self._tab.until("document.querySelectorAll('figure .dot').length > 20")
        await self._tab.click("Round before")
        await self._tab.until("document.querySelectorAll('.timeline li').length > 0")
        await self._looks.at("training")
        await self._tab.click("Pause")
        await self._tab.shows("An open round waits")
        await self._looks.at("dialog")
        await self._tab.click("Pause digits")
        await self._tab.until("[...document.querySelectorAll('button')].some((one) => one.textContent === 'Resume')")
        await versions(self._tab, self._check)
        await self._go(f"trainings/{self._found.training}")
        await self._tab.click("Resume")
        await self._tab.shows("Done: Resume digits")
        self._check("a training is paused and goes on", holds=True)

    async def _plans(self) -> None:
        await self._go("start")
        await enter(self._tab, MISTAKES)
        await self._tab.shows("It should be")
        await self._looks.at("mistakes")
        await enter(self._tab, dict.fromkeys(MISTAKES, ""))
        await form(self._tab, self._check)
        await self._looks.at("start")
        await start(self._tab, self._check)
        await self._go(f"compare?trainings={self._found.training},{await opened(self._found)}")
        await compare(self._tab, self._check)
        await self._looks.at("compare")
        await moved(self._tab)
        await self._looks.at("explorer")

    async def _others(self) -> None:
        await self._go("clients?breaker=open")
        await self._tab.shows("of 63")
        await self._go("clients")
        await self._looks.at("clients")
        await asyncio.to_thread(over_relays, self._found)
        await self._go("topology")
        await self._tab.until("document.querySelectorAll('.map .tree').length > 0")
        await self._looks.at("topology")
        await self._go("trainings/0000000000000000")
        await self._tab.shows("Go to the overview")
        self._tab.console.clear()  # the browser itself writes the 404 there

    def _check_calls(self) -> None:
        own = {urlsplit(self._found.url).netloc, ""}
        self._check(f"the page calls no other host: {sorted(self._tab.hosts - own)}", holds=self._tab.hosts <= own)
        self._check(f"the console has no error: {self._tab.console}", holds=not self._tab.console)

    async def _as_viewer(self) -> None:
        viewer = self._found.plane.post("/v1/keys", {"name": "anna", "role": "viewer"})["key"]
        await self._tab.click("Log out")
        await self._log_in(viewer)
        await self._tab.shows("anna (viewer)")
        await self._go(f"clients/{GONE}")
        await self._tab.shows("Breaker and last failures")
        buttons = await self._tab.run("[...document.querySelectorAll('main button')].map((one) => one.textContent)")
        self._check(f"a viewer sees no button that it may not use: {buttons}", holds=buttons == [])
        await self._tab.shows(HIDDEN)
        await self._go("start")
        await self._tab.shows("Your key has the role viewer")
        await self._tab.shows("could be selected now")
        buttons = await self._tab.run("[...document.querySelectorAll('form button')].map((one) => one.textContent)")
        self._check(f"a viewer reads why it cannot start a training: {buttons}", holds=buttons == [])
        await self._go(f"trainings/{self._found.training}")
        names = await offered(self._tab)
        self._check(f"a viewer downloads versions, and changes none: {names}", holds=names == {"Download"})

    async def _go(self, place: str) -> None:
        await self._tab.run(f"location.hash = {json.dumps(f'#/{place}')}")
        await asyncio.sleep(SETTLED_SECONDS)


async def run(directory: Path, found: Federation, pictures: Path | None, axe: str | None) -> list[str]:
    """Walk through the dashboard of a federation and return the problems."""
    async with browser(directory) as tab:
        await tab.look()
        await tab.call("Page.navigate", url=f"{found.url}/")
        walk = Walk(tab, found, pictures, axe)
        await walk.all()
        return walk.problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="make browser", description=__doc__)
    parser.add_argument("--pictures", type=Path, metavar="DIRECTORY", help="where pictures of the views are stored")
    parser.add_argument("--axe", type=Path, metavar="FILE", help="axe.min.js of axe-core, which then checks each view")
    parser.add_argument(
        "--renew", action="store_true", help="write the baseline of all views anew, and do nothing else"
    )
    parser.add_argument("--views", action="store_true", help="compare all views with the baseline, and do nothing else")
    given = parser.parse_args()
    if installed() is None:
        print("skipped: there is no Chromium on this machine")
        return 0
    if given.pictures is not None:
        given.pictures.mkdir(parents=True, exist_ok=True)
    problems = views(renew=given.renew, kept=given.pictures)
    if not (given.renew or given.views):
        problems += actions(given.pictures, None if given.axe is None else given.axe.read_text())
    print("ok" if not problems else f"NOT OK: {len(problems)} problems")
    return int(bool(problems))


def views(*, renew: bool, kept: Path | None) -> list[str]:
    """Compare every view with the baseline, or write the baseline anew. Returns the problems."""
    problems: list[str] = []

    def check(what: str, *, holds: bool) -> None:
        if not holds:
            print(f"MISSED {what}", flush=True)
            problems.append(what)

    seen = asyncio.run(Baseline(check, renew=renew, kept=kept).all())
    print(
        f"{'ok    ' if not problems else 'MISSED'} {seen} views {'are stored' if renew else 'are as in the baseline'}"
    )
    return problems


def actions(pictures: Path | None, axe: str | None) -> list[str]:
    """Go through the views and actions, and through an outage. Returns the problems."""
    with tempfile.TemporaryDirectory(prefix="tcsfeel-browser-") as name, federation(Path(name)) as found:
        problems = asyncio.run(run(Path(name), found, pictures, axe))
    with tempfile.TemporaryDirectory(prefix="tcsfeel-browser-") as name:
        for seen in asyncio.run(outage(Path(name))):
            print(f"ok     {seen}", flush=True)
    return problems


if __name__ == "__main__":
    sys.exit(main())
