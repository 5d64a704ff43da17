"""Start a training from the form of the dashboard, see its curve grow, compare it, and move sliders of a selection."""

import json
from collections.abc import Mapping
from typing import Protocol

from tests.harnesses.browser.chromium import Tab
from tests.harnesses.browser.federation import Federation

NAME = 'from the "form"'
CLIP = "hyperparameters/server_clip_norm"
FIELDS = {
    "name": NAME,
    "recipe": "fedavg",
    "target_accuracy": "0.999",
    "selection/min_clients": "9",
    "selection/max_clients": "9",
    "hyperparameters/local_epochs": "2",
}
MISTAKES = {"max_rounds": "0.5", "selection/min_clients": "12", "selection/max_clients": "3"}
WRONG = "document.querySelector('[aria-invalid=true]')?.name"
RESIZED_MILLISECONDS = 200  # after which the page reads again
FEWEST, BUDGET = "min clients", "budget constraint"
DOTS = "document.querySelectorAll('figure:first-of-type .dot').length"


class Check(Protocol):
    """Notes whether something holds."""

    def __call__(self, what: str, *, holds: bool) -> None: ...


async def form(tab: Tab, check: Check) -> None:
    """Fill in the form, with mistakes first. The server's own words stand beside the field that they are about."""
    await tab.shows("Only the name is needed")
    await tab.shows("could be selected now")
    await enter(tab, {"max_rounds": "0.5"})
    await tab.shows("It should be a whole number.")
    await enter(tab, {"max_rounds": "", "selection/min_clients": "12", "selection/max_clients": "3"})
    await tab.shows("It should be at least min_clients, which is 12; it is 3.")
    check("a wrong field is marked while it is filled in", holds=await tab.run(WRONG) == "selection/max_clients")
    await enter(tab, {"selection/min_clients": "9", "selection/max_clients": "9"})
    await tab.shows("a first round would select 9 clients")
    await tab.run("document.querySelector('button[value=start]').click()")
    focused = await tab.run("document.activeElement.name")
    check("a form without a name leads to the name", holds=focused == "name")
    await enter(tab, FIELDS)
    await tab.shows("random: Select clients uniformly at random")
    code = "[...document.querySelectorAll('pre')]"
    await tab.until(f"{code}.every((one) => one.textContent.includes({json.dumps(json.dumps(NAME))}))")
    check("the form shows what a recipe chooses, and the same as code", holds=True)
    await tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
    await tab.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    await tab.click("Copy")
    await tab.shows("Copied.")
    copied = await tab.run("navigator.clipboard.readText()")
    check("the code is copied", holds=copied == await tab.run("document.querySelector('pre').textContent"))
    await tuned(tab, check)
    await refused(tab, check)
    tab.console.clear()  # the browser itself writes each 422 there


async def refused(tab: Tab, check: Check) -> None:
    """Send what only the server can refuse: two fields that do not go together, one of them in a closed part."""
    await enter(tab, {"aggregation": "scaffold", CLIP: "1"})
    await tab.run("document.querySelector('button[value=start]').click()")
    await tab.shows("cannot be used with scaffold")
    focused = await tab.run("document.activeElement.name")
    check("what the server refuses stands beside its field, which is shown", holds=focused == CLIP)
    await enter(tab, {"selection/min_clients": "8", "selection/max_clients": "8"})
    await tab.shows("a first round would select 8 clients")
    await tab.shows("cannot be used with scaffold")
    await enter(tab, {"aggregation": "", CLIP: ""})
    await tab.until("!document.body.textContent.includes('cannot be used with scaffold')")
    check("it stays there until its field changes", holds=True)
    await enter(tab, {"selection/min_clients": "9", "selection/max_clients": "9"})
    await tab.shows("a first round would select 9 clients")


async def tuned(tab: Tab, check: Check) -> None:
    """Tune a strategy and choose other recipes. What was entered goes only when the strategy changes."""
    own = "document.querySelector('[name^=\"selection/parameters/\"]')"
    await enter(tab, {"selection/strategy": "oort"})
    await tab.run(f"{own}.value = '0.5'; {own}.dispatchEvent(new Event('input', {{ bubbles: true }}))")
    await enter(tab, {"recipe": "tcs-feel"})
    kept = await tab.run(f"{own}.value")
    await enter(tab, {"selection/strategy": ""})
    await enter(tab, {"recipe": FIELDS["recipe"]})
    check("a recipe leaves the parameters of the chosen strategy as they are", holds=kept == "0.5")


async def start(tab: Tab, check: Check) -> None:
    """Start the training without a mouse, and see its curve grow."""
    await tab.run("document.querySelector('[name=name]').focus()")
    await tab.press("Tab")
    check("Tab leads to the next field", holds=await tab.run("document.activeElement.name") == "recipe")
    await tab.run("document.querySelector('[name=max_rounds]').focus()")
    await tab.press("Enter", text="\r")
    await tab.shows(f"Done: Start {NAME}.")
    await tab.until("location.hash.startsWith('#/trainings/')")
    await tab.until(f"{DOTS} >= 2")
    seen = await tab.run(DOTS)
    await tab.until(f"{DOTS} > {seen}")
    check("a training is started from the form, and its curve grows", holds=True)


async def compare(tab: Tab, check: Check) -> None:
    """See both trainings in each chart and in the table, and change the choice of a round without starting anything."""
    figures = "[...document.querySelectorAll('figure')].map((one) => one.querySelectorAll('.line').length).join()"
    await tab.until(f"{figures} === '2,2,2'")
    await tab.shows("not in")
    await enter(tab, {"target": "0.3"})
    rows = "[...document.querySelectorAll('tbody tr')].slice(0, 2)"
    await tab.until(f"{rows}.every((one) => Number(one.cells[3].textContent) > 0)")
    check("two trainings are compared, and a lower target is reached by both", holds=True)
    await tab.shows("The choice is the same")
    await moved(tab)
    await tab.click("Back to the present choice")
    await tab.shows("The choice is the same")
    check("the explorer says who joins and leaves if its sliders move", holds=True)
    await emptied(tab, check)
    await retried(tab, check)
    await ticked(tab, check)


async def moved(tab: Tab) -> None:
    """Move sliders so far that others would be chosen."""
    for index, value in ((0, 0), (1, 3)):
        slider = f"document.querySelectorAll('input[type=range]')[{index}]"
        await tab.run(f"{slider}.value = {value}; {slider}.dispatchEvent(new Event('input'))")
    await tab.shows("would join")


async def emptied(tab: Tab, check: Check) -> None:
    """Empty the field of a slider. Only the budget may be without a limit."""
    fewest, budget = (f"document.querySelector('[type=number][aria-label=\"{name}\"]')" for name in (FEWEST, BUDGET))
    for field in (fewest, budget):
        await tab.run(f"{field}.value = ''; {field}.dispatchEvent(new Event('input'))")
    marks = [await tab.run(f"{field}.getAttribute('aria-invalid')") for field in (fewest, budget)]
    hints = [await tab.run(f"{field}.placeholder") for field in (fewest, budget)]
    check("only the field of the budget may be empty", holds=(marks, hints) == (["true", "false"], ["", "no limit"]))


async def retried(tab: Tab, check: Check) -> None:
    """Let the reads fail that the explorer begins with. It says so, and begins once the server answers."""
    await tab.run(
        "window.kept = fetch; window.fetch = (url, ...rest) =>"
        " (String(url).includes('v1/clients') ? Promise.reject(new Error('gone')) : kept(url, ...rest)); undefined"
    )
    await tab.click("Back to the present choice")
    await tab.shows("The page tries again by itself.")
    locked = await tab.run("document.querySelector('fieldset.bare').disabled")
    await tab.run("window.fetch = kept; undefined")
    await tab.shows("The choice is the same")
    free = not await tab.run("document.querySelector('fieldset.bare').disabled")
    check("the explorer begins again after its reads have failed", holds=bool(locked) and free)


async def ticked(tab: Tab, check: Check) -> None:
    """Choose a training that was never shown while the page is reading the others, and take it out again."""
    before = len(tab.console)
    keep = await tab.run("document.querySelector('.choices input:not(:checked)').dataset.keep")
    box = f"document.querySelector('.choices [data-keep={json.dumps(keep)}]')"
    await tab.run(f"dispatchEvent(new Event('resize')); setTimeout(() => {box}.click(), {RESIZED_MILLISECONDS + 1}); 0")
    await tab.until("document.querySelectorAll('.legend span').length === 3")
    wrong = tab.console[before:]
    check(f"a training can be chosen while the page is reading: {wrong}", holds=not wrong)
    await tab.run(f"{box}.click()")
    await tab.until("document.querySelectorAll('.legend span').length === 2")


async def opened(found: Federation) -> str:
    """Return the id of the training that the form has made."""
    listed = found.plane.get("/v1/trainings?limit=10")["items"]
    return next(str(one["id"]) for one in listed if one["name"] == NAME)


async def enter(tab: Tab, values: Mapping[str, str]) -> None:
    """Enter values into fields by their names, as a person would."""
    for name, value in values.items():
        field = f"document.querySelector({json.dumps(f'[name={json.dumps(name)}]')})"
        await tab.run(
            f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('input', {{ bubbles: true }}))"
        )
