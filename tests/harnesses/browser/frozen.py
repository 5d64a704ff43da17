"""A server, and a page of it, whose time stands still, so that pictures of the page are the same each time."""

import asyncio
from collections.abc import Callable
from functools import partial

import uvicorn

from app.main import create_app
from app.settings import Settings
from tests.e2e.servers import Server
from tests.harnesses.browser.chromium import Tab

NOW = 1_796_126_400.0  # unix seconds: noon of 1 December 2026 in UTC, the time of all pictures
PAGE = f"""
const Real = Date;
globalThis.Date = class extends Real {{
    constructor(...given) {{ super(...(given.length ? given : [{NOW * 1000:.0f}])); }}
    static now() {{ return {NOW * 1000:.0f}; }}
}};
const real = fetch;
globalThis.calls = 0;
globalThis.fetch = async (...given) => {{
    const lasts = String(given[0]).includes("/stream");
    calls += lasts ? 0 : 1;
    try {{
        return await real(...given);
    }} finally {{
        calls -= lasts ? 0 : 1;
    }}
}};
"""
"""Lets the time of day stand still in a page, while its timers go on. `calls` are those that wait for an answer."""


class Still:
    """A clock for the server that stands still. Who sleeps wakes up after as long as it was asked to."""

    def now(self) -> float:
        return NOW

    def behind(self, now: float) -> float:  # noqa: ARG002  (`app.clock.Clock` gives it)
        return 0.0

    def adopt(self, now: float) -> None:
        """Take over no other time."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def serve(port: int) -> None:
    """Serve with a clock that stands still, and drive no training."""
    app = create_app(Settings.load(), clock=Still())
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


class FrozenServer(Server):
    """A control plane in a process of its own, on a real socket, with a clock that stands still."""

    @property
    def program(self) -> Callable[[], None]:
        """What its process runs."""
        return partial(serve, self.port)


async def freeze(tab: Tab) -> None:
    """Let every page of the tab have the same time, time zone and language."""
    await tab.call("Emulation.setTimezoneOverride", timezoneId="UTC")
    await tab.call("Emulation.setLocaleOverride", locale="en-US")
    await tab.call("Page.addScriptToEvaluateOnNewDocument", source=PAGE)
