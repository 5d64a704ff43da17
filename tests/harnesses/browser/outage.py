"""Look at the dashboard of an empty server, which is killed and starts again."""

import json
from pathlib import Path

from tests.e2e.servers import server
from tests.harnesses.browser.chromium import Tab, browser

PUSHED = "told by the stream"
BUSY = """
const real = window.fetch;
let refused = 0;
window.fetch = (url, ...rest) => String(url).endsWith("v1/caller") && refused++ === 0
    ? Promise.resolve(new Response('{"detail": "Too many calls."}', { status: 503 }))
    : real(url, ...rest);
"""
"""Lets the page's first question who it is be answered 503."""


async def outage(directory: Path) -> list[str]:
    """Log in with a wrong and a right key, kill the server behind the page, and start it again.

    Returns what was seen. Raises `TimeoutError` if the page does not show what it should.
    """
    url = f"sqlite+aiosqlite:///{directory}/outage.db"
    async with server(directory, url) as running, browser(directory) as tab:
        await tab.look()
        await tab.call("Page.navigate", url=f"{running.url}/")
        await log_in(tab, "a-wrong-key-of-some-length")
        await tab.shows("The server does not know this key")
        await log_in(tab, running.key)
        await tab.shows("All is well")
        await tab.shows("No client is registered yet")
        async with running.api() as api:
            (await api.post("/v1/trainings", json={"name": PUSHED})).raise_for_status()
        await tab.shows(PUSHED)
        running.kill()
        await tab.shows("The server does not answer")
        await running.start()
        await tab.until("document.getElementById('banner') === null")
        await tab.call("Page.addScriptToEvaluateOnNewDocument", source=BUSY)
        await tab.call("Page.navigate", url=f"{running.url}/?busy")
        await tab.until("document.body !== null")
        await tab.shows("Too many calls. The page tries again by itself.")
        await tab.shows(PUSHED)
        running.kill()
        await tab.click("Log out")
        await tab.shows("You are still logged in: try again later.")
    return [
        "a wrong key is refused with a sentence, and an empty server says how to begin",
        "a new training is shown without a reload",
        "the page says that the server is gone, and goes on once it is back",
        "a server that is too busy for a moment ends no session",
        "who logs out while the server is gone is told that the session goes on",
    ]


async def log_in(tab: Tab, key: str) -> None:
    """Enter a key and send it."""
    await tab.until("document.querySelector('#key') !== null")
    await tab.run(f"document.querySelector('#key').value = {json.dumps(key)}")
    await tab.click("Log in")
