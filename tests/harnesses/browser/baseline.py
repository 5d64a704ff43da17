"""Compare every view with a baseline: ``make browser`` does, and ``ARGS=--renew`` writes the baseline anew.

A server with a clock that stands still shows the same data each time: some clients and trainings with long names and
reasons, a thousand clients, or nothing. Of each view there is a picture in light, in dark and on a phone.

- The texts of a view, and what is off the screen or cut off, are compared and checked on every machine.
- Boxes of panels, headings, figures and tables, and the pixels, depend on the browser and on its fonts. They are
  compared where the version of Chromium and the width of a sample of text are those of the baseline.
"""

import asyncio
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tests.harnesses.browser.chromium import Tab, browser
from tests.harnesses.browser.frozen import FrozenServer, freeze
from tests.harnesses.browser.looks import SIZES
from tests.harnesses.browser.outage import log_in
from tests.harnesses.browser.planning import Check
from tests.harnesses.browser.samples import LONGEST, RELAYED, RUNNING, TROUBLED, seed

DIRECTORY = Path(__file__).parent / "pictures"
RECORD = "views.json"
FLEETS = {"usual": 25, "empty": 0, "many": 1000}
VIEWS = {
    "overview": "",
    "start": "start",
    "compare": f"compare?trainings={RUNNING},{RELAYED}",
    "clients": "clients",
    "topology": "topology",
    "training": f"trainings/{RUNNING}?round=24",
    "client": f"clients/{TROUBLED}",
    "longest": f"clients/{LONGEST}",
}
SHOWN = {
    "usual": VIEWS.keys(),
    "empty": {"overview", "start", "compare", "clients", "topology"},
    "many": {"overview", "compare", "clients", "topology", "training"},
}
NARROWEST = 360  # pixels of a phone, of which there is no picture
SCALE = 2  # by which pictures of the baseline are smaller
QUALITY = 50
NOTICED = 24  # difference of a grey or colour value, of 255, after blocks of 4 by 4 pixels are averaged
BLOCK = 4
FEW = 0.0005  # share of blocks that may differ
MOVED = 2  # pixels by which a box may be elsewhere
SETTLED = "calls === 0 && !/Loading…|still reading/.test(document.body.textContent)"
LEAVE = "document.querySelector('main').firstElementChild.left = true"
ARRIVED = "(document.querySelector('main').firstElementChild?? {left: true}).left !== true"
QUIET_SECONDS = 0.4

BOXES = """[...document.querySelectorAll(
    "header, h1, h2, h3, .panel, figure, table, .map, form, .tiles, .timeline, nav"
)].map((one) => [one, one.getBoundingClientRect()]).filter(([, box]) => box.width > 1).map(([one, box]) => [
    `${one.localName}.${one.className.baseVal ?? one.className}`
        + ` ${(one.querySelector("h2, strong, figcaption, th") ?? one).textContent.slice(0, 30)}`,
    ...[box.x, box.y + scrollY, box.width, box.height].map(Math.round)
])"""

OFF_SCREEN = """(() => {
    const wide = document.documentElement.clientWidth, found = [];
    for (const one of document.querySelectorAll("main *, header *")) {
        if (one.closest(".hidden, svg, pre, details:not([open])") || one.closest("option")) continue;
        const box = one.getBoundingClientRect();
        if (box.width === 0 || box.height === 0) continue;
        const name = `${one.localName}.${one.className}: ${one.textContent.slice(0, 40)}`;
        if (box.right > wide + 1 || box.left < -1) found.push(`off the screen: ${name}`);
        else if (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible" && wide < 720)
            found.push(`goes on to the right: ${name}`);
        else if (one.childElementCount === 0 && one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1)
            found.push(`cut off: ${name}`);
    }
    return found;
})()"""
SAMPLE = """(() => {
    const one = document.createElement("span");
    one.textContent = "The quick brown fox 0123456789 ✓ → ━";
    document.body.append(one);
    const wide = one.getBoundingClientRect().width;
    one.remove();
    return wide.toFixed(2);
})()"""


@dataclass(frozen=True)
class View:
    """What one view shows: its lines of text, and the boxes (name, x, y, width and height in pixels)."""

    text: list[str]
    boxes: list[list[Any]]


class Fleet(NamedTuple):
    """A tab that shows a server with so many clients. `alike` says whether its pictures can be compared."""

    name: str
    tab: Tab
    running: FrozenServer
    alike: bool


class Baseline:
    """Compares views with those that are stored, or stores them if it is to `renew` them.

    Whole pictures go to the directory `kept`, if it is given.
    """

    def __init__(self, check: Check, *, renew: bool, kept: Path | None) -> None:
        self._check = check
        self._renew = renew
        self._kept = kept
        self._stored: dict[str, Any] = {} if renew else json.loads((DIRECTORY / RECORD).read_text())
        self._record: dict[str, Any] = {}

    async def all(self) -> int:
        """Look at every view of every fleet. Returns how many there are."""
        if self._renew:
            DIRECTORY.mkdir(exist_ok=True)
            for old in DIRECTORY.glob("*.webp"):
                old.unlink()
        for name, clients in FLEETS.items():
            with tempfile.TemporaryDirectory(prefix="tcsfeel-pictures-") as directory:
                await self._served(name, clients, Path(directory))
        if self._renew:
            written = json.dumps(self._record, indent=0, ensure_ascii=False, sort_keys=True)
            (DIRECTORY / RECORD).write_text(f"{written}\n")
        return len(self._record) - 1

    async def _served(self, name: str, clients: int, directory: Path) -> None:
        """Start a server with so many clients, and look at its views."""
        url = f"sqlite+aiosqlite:///{directory}/frozen.db"
        await seed(url, clients)
        idle = {"TCSFEEL_COORDINATOR__ENABLED": "false", "TCSFEEL_HEALTH__INTERVAL_SECONDS": "3600"}
        running = FrozenServer(directory, url, **idle)
        await running.start()
        try:
            async with browser(directory) as tab:
                await freeze(tab)
                await tab.look()
                await tab.call("Page.navigate", url=f"{running.url}/")
                await tab.until("document.querySelector('#key') !== null")
                machine = [(await tab.call("Browser.getVersion"))["product"], await tab.run(SAMPLE)]
                self._record["machine"] = machine
                await self._views(Fleet(name, tab, running, alike=self._stored.get("machine") == machine))
        finally:
            running.kill()

    async def _views(self, fleet: Fleet) -> None:
        tab = fleet.tab
        if not (self._renew or fleet.alike):
            print("       another Chromium or other fonts: boxes and pixels are not compared", flush=True)
        if fleet.name == "usual":
            await self._view(fleet, "login")
        await log_in(tab, fleet.running.key)
        await tab.until("document.querySelector('nav') !== null")
        for name, place in VIEWS.items():
            if name in SHOWN[fleet.name]:
                await tab.run(LEAVE)
                where = f"#/{place.partition('?')[0] if fleet.name == 'empty' else place}"
                await tab.run(f"location.hash = {json.dumps(where)}")
                await tab.until(ARRIVED)
                await self._view(fleet, name)

    async def _view(self, fleet: Fleet, name: str) -> None:
        """Look at a view in light, in dark and on a phone."""
        for kind, (width, height, dark) in SIZES.items():
            if kind == "dark" and fleet.name == "many":
                continue  # it has the colours of the usual fleet
            await fleet.tab.look(width=width, height=height, dark=dark)
            label = f"{name}-{fleet.name}-{kind}"
            await self._compare(fleet, label)
            if kind == "phone":
                await fleet.tab.look(width=NARROWEST, height=height, dark=dark)
                await self._whole(fleet.tab, f"{label}, {NARROWEST} pixels wide")

    async def _whole(self, tab: Tab, label: str) -> None:
        await self._settled(tab)
        lost = await tab.run(OFF_SCREEN)
        self._check(f"{label}: nothing is off the screen or cut off: {lost[:5]}", holds=not lost)

    async def _compare(self, fleet: Fleet, label: str) -> None:
        tab = fleet.tab
        await self._whole(tab, label)
        text = (await tab.text()).replace(fleet.running.url, "http://SERVER")
        view = View(text.splitlines(), await tab.run(BOXES))
        picture = await _picture(tab)
        if self._kept is not None:
            picture.save(self._kept / f"{label}.webp", quality=80)
        self._record[label] = asdict(view)
        stored, file = self._stored.get(label), DIRECTORY / f"{label}.webp"
        if self._renew:
            file.write_bytes(_stored(picture))
            return
        found = [] if stored else ["it is new: renew the baseline"]
        if stored:
            found += _other_texts(stored["text"], view.text)
        if stored and fleet.alike:
            found += [*_moved(stored["boxes"], view.boxes), *_pixels(_stored(picture), file.read_bytes())]
        self._check(f"{label} is as in the baseline: {found}", holds=not found)

    async def _settled(self, tab: Tab) -> None:
        """Wait until the page has read what it shows, and does not change any more."""
        await tab.until(SETTLED)
        known = ""
        while known != (known := str(await tab.run("document.body.innerHTML"))):
            await asyncio.sleep(QUIET_SECONDS)
            await tab.until(SETTLED)


async def _picture(tab: Tab) -> Image.Image:
    with tempfile.NamedTemporaryFile(suffix=".webp") as file:
        await tab.picture(Path(file.name), quality=100)
        return Image.open(io.BytesIO(Path(file.name).read_bytes())).convert("RGB")  # noqa: ASYNC240  (nothing else runs here)


def _other_texts(stored: list[str], shown: list[str]) -> Iterator[str]:
    """Say which lines of text have gone or come."""
    if shown != stored:
        gone, come = (
            [one for one in some if one not in others][:3] for some, others in ((stored, shown), (shown, stored))
        )
        yield f"the text lacks {gone} and has {come}, or its order is another"


def _moved(stored: list[list[Any]], shown: list[list[Any]]) -> Iterator[str]:
    """Say which box is the first that has moved, or has another size."""
    if [name for name, *_ in stored] != [name for name, *_ in shown]:
        yield f"it has {len(shown)} named boxes in place of {len(stored)}, or others"
        return
    for (name, *before), (_, *after) in zip(stored, shown, strict=True):
        if any(abs(one - other) > MOVED for one, other in zip(before, after, strict=True)):
            yield f"{name!r} is at {after} (x, y, width, height) in place of {before}"
            return


def _stored(picture: Image.Image) -> bytes:
    """Make a picture smaller, and compress it, as it is stored."""
    stored = io.BytesIO()
    small = picture.resize((picture.width // SCALE, picture.height // SCALE), Image.Resampling.BOX)
    small.save(stored, "webp", quality=QUALITY, method=6)
    return stored.getvalue()


def _pixels(picture: bytes, baseline: bytes) -> Iterator[str]:
    """Compare a picture with that of the baseline, which was compressed in the same way."""
    small, wanted = (Image.open(io.BytesIO(one)).convert("RGB") for one in (picture, baseline))
    if small.size != wanted.size:
        yield f"the picture has {small.size} pixels in place of {wanted.size}"
        return
    far = np.abs(_blocks(small) - _blocks(wanted)).max(axis=2) > NOTICED
    if far.mean() > FEW:
        rows, columns = np.nonzero(far)
        x, y = (int(one.min()) * BLOCK * SCALE for one in (columns, rows))
        yield f"{far.mean():.2%} of the picture looks different, from ({x}, {y}) on"


def _blocks(picture: Image.Image) -> Any:
    size = max(1, picture.width // BLOCK), max(1, picture.height // BLOCK)
    return np.asarray(picture.resize(size, Image.Resampling.BOX), dtype=np.float32)
