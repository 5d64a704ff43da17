"""Take a picture of every view of the dashboard, and compare it with the one that is kept: ``make pictures``.

The views are those of an empty server, a recorded federation and a fleet of 1 000 clients, in light, in dark and on a
phone. Time stands still on the servers and in the browser. Pictures are compared in blocks of pixels. They depend on
the browser and its fonts, which are noted beside them, so on a machine with others nothing is compared.
"""

import argparse
import asyncio
import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harnesses.browser import still
from tests.harnesses.browser.chromium import PATIENCE, Tab, browser, installed
from tests.harnesses.browser.looks import SIZES
from tests.harnesses.browser.outage import log_in
from tests.harnesses.browser.still import Still

KEPT = Path(__file__).parent / "kept"
MACHINE = KEPT / "machine.json"
QUALITY, SCALE, TALLEST = 55, 0.5, 1800  # of the pictures: per cent, their size as a share, and pixels of a page
BLOCK, FAR, MOST = 4, 24, 0.002  # pixels; of 255, how far a block may be off; the share of blocks that may be
QUIET_LOOKS, LOOK_SECONDS = 3, 0.2
WORDS = "The quick brown fox jumps over 0123456789 lazy dogs ━ “”"

STILL = """
(() => {
    const Real = Date, now = %d;
    window.Date = class extends Real {
        constructor(...given) { super(...(given.length ? given : [now])); }
        static now() { return now; }
    };
})()"""
FONTS = """(() => {
    const context = document.createElement("canvas").getContext("2d");
    return ["sans-serif", "system-ui", "monospace"].map((family) => {
        context.font = `100px ${family}`;
        return Math.round(context.measureText(%s).width);
    });
})()"""
FAR_OFF = """(async () => {
    const images = await Promise.all(%s.map(async (source) => {
        const image = new Image();
        image.src = source;
        await image.decode();
        return image;
    }));
    const [one, other] = images;
    if (one.width !== other.width || one.height !== other.height) return 1;
    const [columns, rows] = [one.width, one.height].map((size) => Math.ceil(size / %d));
    const [before, now] = images.map((image) => {
        const canvas = new OffscreenCanvas(columns, rows), context = canvas.getContext("2d");
        context.imageSmoothingQuality = "high";
        context.drawImage(image, 0, 0, columns, rows);
        return context.getImageData(0, 0, columns, rows).data;
    });
    let far = 0;
    for (let at = 0; at < before.length; at += 4)
        if ([0, 1, 2].some((channel) => Math.abs(before[at + channel] - now[at + channel]) > %d)) far += 1;
    return far / (columns * rows);
})()"""
FRAME = "JSON.stringify([location.hash, document.body.innerHTML, document.documentElement.scrollHeight])"


@dataclass(frozen=True, slots=True)
class Scene:
    """A server, and the places of its views by their names, with the names of trainings in braces."""

    name: str
    serve: Callable[[Path], AbstractContextManager[Still]]
    places: dict[str, str]


SCENES = (
    Scene(
        "empty",
        still.empty,
        {
            "overview": "",
            "clients": "clients",
            "topology": "topology",
            "compare": "compare",
            "start": "start",
            "unknown": "trainings/0000000000000000",
        },
    ),
    Scene(
        "federation",
        still.recorded,
        {
            "overview": "",
            "clients": "clients",
            "faulty-client": "clients/harbour-1",
            "client": "clients/edge-01",
            "training": "trainings/{digits}",
            "relays": "trainings/{digits over relays}",
            "topology": "topology",
            "compare": "compare?trainings={digits},{digits over relays}",
            "start": "start",
        },
    ),
    Scene(
        "fleet",
        still.fleet,
        {
            "overview": "",
            "clients": "clients",
            "client": "clients/device-0007",
            "topology": "topology",
            "compare": "compare",
            "start": "start",
        },
    ),
)


async def take(scene: Scene, directory: Path, into: Path) -> dict[str, Any]:
    """Store a picture of each view of a scene, and return what they depend on."""
    with scene.serve(directory / "data") as served:
        async with browser(directory) as tab:
            await tab.call("Emulation.setTimezoneOverride", timezoneId="Europe/Berlin")
            await tab.call("Emulation.setLocaleOverride", locale="en-GB")
            await tab.call("Page.addScriptToEvaluateOnNewDocument", source=STILL % (served.now * 1000))
            await tab.look()
            await tab.call("Page.navigate", url=f"{served.url}/")
            if scene is SCENES[0]:
                await _in_each_size(tab, into, f"{scene.name}-login")
            await log_in(tab, still.KEY)
            for name, place in scene.places.items():
                await tab.run(f"location.hash = {json.dumps(f'#/{place.format_map(served.trainings)}')}")
                await _in_each_size(tab, into, f"{scene.name}-{name}")
            version = (await tab.call("Browser.getVersion"))["product"]
            return {"browser": version, "fonts": await tab.run(FONTS % json.dumps(WORDS))}


async def _in_each_size(tab: Tab, into: Path, name: str) -> None:
    for kind, (width, height, dark) in SIZES.items():
        await tab.look(width=width, height=height, dark=dark)
        await _settled(tab)
        size = (await tab.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": min(size["height"], TALLEST), "scale": SCALE}
        told = await tab.call(
            "Page.captureScreenshot", format="webp", quality=QUALITY, captureBeyondViewport=True, clip=clip
        )
        (into / f"{name}-{kind}.webp").write_bytes(base64.b64decode(told["data"]))


async def _settled(tab: Tab) -> None:
    """Wait until the view stays as it is, and asks for nothing."""
    alike, before = 0, None
    async with asyncio.timeout(PATIENCE):
        while alike < QUIET_LOOKS:
            await asyncio.sleep(LOOK_SECONDS)
            now = await tab.run(FRAME)
            alike, before = (alike + 1 if now == before and not tab.calls else 0), now


async def compare(directory: Path, kept: Path, taken: Path) -> list[str]:
    """Compare pictures with those that are kept, and tell how each that is not alike differs."""
    before, now = (_names(place) for place in (kept, taken))
    found = [f"{name} is kept, and was not taken" for name in sorted(before - now)]
    found += [f"{name} was taken, and is not kept" for name in sorted(now - before)]
    async with browser(directory) as tab:
        for name in sorted(before & now):
            sources = [_source(place / name) for place in (kept, taken)]
            share = float(await tab.run(FAR_OFF % (json.dumps(sources), BLOCK, FAR)))
            if share > MOST:
                found.append(f"{name} differs in {share:.1%} of its area")
    return found


def _names(directory: Path) -> set[str]:
    return {file.name for file in directory.glob("*.webp")}


def _source(file: Path) -> str:
    return f"data:image/webp;base64,{base64.b64encode(file.read_bytes()).decode()}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make pictures", description=__doc__)
    parser.add_argument("--renew", action="store_true", help="keep the pictures that are taken now")
    parser.add_argument("--record", action="store_true", help="run the federation that is shown anew, and keep it")
    parser.add_argument("--into", type=Path, metavar="DIRECTORY", help="where the pictures stay that are taken now")
    given = parser.parse_args()
    if installed() is None:
        print("skipped: there is no Chromium on this machine")
        return 0
    if given.record:
        still.record()
    with tempfile.TemporaryDirectory(prefix="tcsfeel-pictures-") as name:
        directory = Path(name)
        taken = given.into or directory / "taken"
        taken.mkdir(parents=True, exist_ok=True)
        for scene in SCENES:
            machine = asyncio.run(take(scene, directory / scene.name, taken))
        if given.renew:
            shutil.rmtree(KEPT, ignore_errors=True)
            shutil.copytree(taken, KEPT)
            MACHINE.write_text(json.dumps(machine, indent=1) + "\n")
            print(f"kept {len(list(KEPT.glob('*.webp')))} pictures: look at them before you commit them")
            return 0
        if (other := json.loads(MACHINE.read_text())) != machine:
            print(f"skipped: the pictures were made with {other}, and here is {machine}")
            return 0
        found = asyncio.run(compare(directory / "compared", KEPT, taken))
    for line in found:
        print(f"MISSED {line}")
    print(
        f"NOT OK: {len(found)} pictures, see them with --into DIRECTORY, and keep them with --renew" if found else "ok"
    )
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
