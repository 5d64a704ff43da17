"""Look at a view as it is: in light, in dark and on a phone, with axe-core, and as pictures."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from tests.harnesses.browser.chromium import Tab
from tests.harnesses.browser.planning import Check

SIZES = {"light": (1280, 900, False), "dark": (1280, 900, True), "phone": (390, 844, False)}
FIRST_SCREEN = {"training", "dialog"}
SETTLED_SECONDS = 1.0
WIDEST_PHONE = f"document.documentElement.scrollWidth <= {SIZES['phone'][0]}"

VIOLATIONS = """(async () => {
    const closed = [...document.querySelectorAll("details:not([open])")];
    for (const one of closed) one.open = true;
    const found = await axe.run(document, { resultTypes: ["violations"] });
    for (const one of closed) one.open = false;
    return found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
        .map((one) => `${one.id}: ${one.nodes[0].html}`);
})()"""


@dataclass(frozen=True)
class Looks:
    """Looks at views in a tab. `pictures` is where pictures are stored, and `axe` the script of axe-core."""

    tab: Tab
    check: Check
    pictures: Path | None
    axe: str | None

    async def at(self, name: str) -> None:
        """Look at the view in each size. Messages go away first."""
        await self.tab.until("document.querySelector('.notice') === null")
        for kind, (width, height, dark) in SIZES.items():
            await self.tab.look(width=width, height=height, dark=dark)
            await asyncio.sleep(SETTLED_SECONDS)
            if kind == "phone":
                self.check(f"{name} is not wider than a phone", holds=bool(await self.tab.run(WIDEST_PHONE)))
            if self.axe is not None:
                await self.tab.run(f"{self.axe}; undefined")
                wrong = await self.tab.run(VIOLATIONS)
                self.check(f"axe-core finds nothing wrong in {name}, {kind}: {wrong}", holds=wrong == [])
            if self.pictures is not None:
                await self.tab.picture(self.pictures / f"{name}-{kind}.webp", whole=name not in FIRST_SCREEN)
        await self.tab.look()
