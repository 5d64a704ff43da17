"""Drive a headless Chromium by the Chrome DevTools Protocol."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 30.0
LOOK_SECONDS = 0.1
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
)


def installed() -> str | None:
    """Find a Chromium on this machine."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One tab. It notes what the page says on its console, and which hosts it calls."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.console: list[str] = []
        self.hosts: set[str] = set()

    async def listen(self) -> None:
        """Receive answers and events until the browser ends."""
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
            elif told["method"] == "Network.requestWillBeSent":
                self.hosts.add(urlsplit(told["params"]["request"]["url"]).netloc)
            elif told["method"] == "Runtime.exceptionThrown":
                self.console.append(str(told["params"]["exceptionDetails"]))
            elif told["method"] == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.console.append(str(told["params"]["entry"]))
            elif told["method"] == "Runtime.consoleAPICalled" and told["params"]["type"] == "error":
                self.console.append(str(told["params"]["args"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol. Raises `RuntimeError` if the browser refuses it."""
        self._number += 1
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            told = await answer
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        result: dict[str, Any] = told["result"]
        return result

    async def run(self, script: str) -> Any:
        """Run an expression in the page and return its value."""
        told = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    async def text(self) -> str:
        return str(await self.run("document.body.innerText"))

    async def until(self, script: str) -> None:
        """Wait until an expression is true. Raises `TimeoutError` with the text of the page."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.run(script):  # noqa: ASYNC110  (a page rings no bell)
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise TimeoutError(f"not true: {script}; the page says: {await self.text()}") from None

    async def shows(self, text: str) -> None:
        """Wait until the page shows a text, whatever its case."""
        await self.until(f"document.body.innerText.toLowerCase().includes({json.dumps(text.lower())})")

    async def click(self, text: str) -> None:
        """Click the first button or link with this text, inside an open dialog if there is one."""
        found = (
            "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button, a, summary')]"
            f".find((one) => one.textContent.includes({json.dumps(text)}) && !one.disabled)"
        )
        await self.until(f"{found} !== undefined")
        await self.run(f"{found}.click()")

    async def press(self, key: str, *, text: str = "") -> None:
        """Press and release a key, which goes to where the focus is."""
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    async def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the colour scheme."""
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def picture(self, path: Path, *, whole: bool = True, quality: int = 80) -> None:
        """Store a picture of the page, or of the part that fits into the window."""
        options = {"format": "webp", "quality": quality, "captureBeyondViewport": whole}
        if whole:
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        told = await self.call("Page.captureScreenshot", **options)
        path.write_bytes(base64.b64decode(told["data"]))  # noqa: ASYNC240  (nothing else runs here)


@asynccontextmanager
async def browser(directory: Path) -> AsyncIterator[Tab]:
    """Start a Chromium with a new profile in the directory, and give its tab."""
    program = installed()
    if program is None:
        raise RuntimeError(f"there is no Chromium on this machine: install one of {', '.join(NAMES)}")
    profile = directory / "profile"
    process = await asyncio.create_subprocess_exec(
        program,
        *OPTIONS,
        f"--user-data-dir={profile}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(one for one in await answer.json(content_type=None) if one["type"] == "page")
            async with http.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
                listening.cancel()
    finally:
        process.kill()
        await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(PATIENCE):
        while not (file.exists() and "\n" in file.read_text()):  # noqa: ASYNC110, ASYNC240  (a file rings no bell)
            await asyncio.sleep(LOOK_SECONDS)
    return int(file.read_text().splitlines()[0])  # noqa: ASYNC240  (a line that was just written)
