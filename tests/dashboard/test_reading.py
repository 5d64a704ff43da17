"""What views show while they read, when reads fail, and when the user chooses meanwhile."""

from pathlib import Path

from tests.nodejs import needs_node, run

pytestmark = needs_node

PAGE = """
    class Node {
        constructor(tag) { Object.assign(this, { tag, children: [], attributes: {}, heard: {}, dataset: {} }); }
        get cells() { return this.children; }
        append(...nodes) { this.children.push(...nodes); }
        before() {}
        replaceChildren(...nodes) { [this.children, this.entered] = [nodes, undefined]; }
        setAttribute(name, value) { this.attributes[name] = value; }
        addEventListener(name, listener) { this.heard[name] = listener; }
        contains() { return false; }
        get all() { return this.children.flatMap((one) => (one instanceof Node ? [one, ...one.all] : [])); }
        querySelectorAll() { return []; }
        get text() { return this.children.map((one) => (one instanceof Node ? one.text : one)).join(" "); }
        get value() {
            if (this.tag !== "select" || this.entered !== undefined) return this.entered ?? "";
            const option = this.children.find((one) => "selected" in one.attributes) ?? this.children[0];
            return option?.attributes.value ?? option?.text ?? "";
        }
        set value(value) { this.entered = value; }
    }
    globalThis.HTMLTableCellElement = class {};
    globalThis.document = { createElement: (tag) => new Node(tag), createElementNS: (_, tag) => new Node(tag) };
    globalThis.history = { replaceState() {} };
    const settled = () => new Promise((done) => setTimeout(done, 5));
    const strategies = ["random", "tcs-feel"].map((name) => ({ name, summary: "", parameters: [] }));
    const goal = { metric: "accuracy", mode: "max", target: 0.9 };
    const training = (id) => ({ id, name: id, status: "running", updated_at: "", goal, current_round: 1, seed: 1,
        selection: { strategy: "random", min_clients: id === "a" ? 1 : 2 } });
    const plan = ({ min_clients }) => ({ selected: [], skipped: [], links: [], total_cost: min_clients });
"""
EXPLORER = (
    PAGE
    + """
    const { Explorer } = await import("./explorer.js");
    const waiting = {};
    const asked = [];
    let fails = true;
    const api = {
        get: async (path) => {
            if (path === "v1/strategies") return { items: strategies };
            if (path.includes("slow")) await new Promise((done) => { waiting.slow = done; });
            return { items: [] };
        },
        all: async () => { if (fails) throw new Error("no answer."); return []; },
        post: async (_, body) => { asked.push(body.min_clients); return plan(body); },
    };
    const explorer = new Explorer({ api });
    const state = () => ({ asked: asked.splice(0), locked: [explorer.controls.disabled, explorer.strategy.disabled],
        wrong: explorer.result.body.text.includes("no answer. The page tries again") });
    const trainings = ["a", "slow"].map(training);
    const seen = {};
    await explorer.refresh(trainings);
    seen.failed = state();
    fails = false;
    await explorer.refresh(trainings);
    seen.again = state();
    explorer.from.value = "slow";
    const slow = explorer.from.heard.change();
    await settled();
    seen.reading = state();
    explorer.from.value = "a";
    await explorer.from.heard.change();
    waiting.slow();
    await slow;
    seen.newest = state();
    fails = true;
    explorer.from.value = "slow";
    await explorer.from.heard.change();
    seen.changed = state();
    return seen;
"""
)
COMPARE = (
    PAGE
    + """
    const { CompareView } = await import("./compare.js");
    let hold = null;
    const api = {
        get: async (path) => {
            if (path === "v1/trainings") return { items: ["a", "b"].map(training) };
            if (path === "v1/strategies") return { items: strategies };
            if (path.endsWith("a/rounds")) await hold;
            return { items: [], next_cursor: null };
        },
        all: async () => [],
        post: async (_, body) => plan(body),
    };
    const app = { api, width: () => 100, refresh() {} };
    const view = new CompareView(app, new URLSearchParams("trainings=a"));
    const box = () => view.panels.choice.body.all.find((one) => one.attributes["data-keep"] === "b");
    await view.refresh();
    let go;
    hold = new Promise((done) => { go = done; });
    const reading = view.refresh();
    await settled();
    box().heard.change({ target: { checked: true } });
    go();
    const first = await reading;
    await view.refresh();
    const table = view.panels.table.body.all.filter((one) => one.tag === "a").map((one) => one.text);
    return { first, table };
"""
)
TRAINING = (
    PAGE
    + """
    const { TrainingView } = await import("./training.js");
    const base = { number: 1, started_at: "2026-11-30T09:00:00Z", ended_at: null, status: "selecting", plan: null,
        selected_clients: [], participations: [], evaluations: [], metrics: {} };
    const missing = Object.assign(new Error("no such selection"), { status: 404 });
    let round = base;
    const asked = [];
    const api = {
        get: async (path) => {
            if (path.endsWith("/selection")) { asked.push(round.status); throw missing; }
            if (path.endsWith("/rounds")) return { items: [round], next_cursor: null };
            return { ...training("a"), selection: {}, progress: null, best_round: null };
        },
        all: async () => [],
    };
    const view = new TrainingView({ api, width: () => 100, may: () => false }, "a", new URLSearchParams(""));
    const seen = [];
    for (const changes of [{}, { status: "abandoned", ended_at: base.started_at }]) {
        round = { ...base, ...changes };
        for (let time = 0; time < 2; time += 1) await view.refresh();
        seen.push([asked.splice(0), view.panels.selection.body.text]);
    }
    round = { ...base, number: 2, status: "training", plan: {} };
    seen.push(await view.refresh().catch((error) => error.message));
    return seen;
"""
)


def test_the_explorer_begins_again_after_a_failure_and_only_the_newest_beginning_counts(tmp_path: Path) -> None:
    seen = run(tmp_path / "dashboard", EXPLORER, None)
    locked, free = [True, True], [False, False]
    assert seen["failed"] == {"asked": [], "locked": locked, "wrong": True}
    assert seen["again"] == {"asked": [1], "locked": free, "wrong": False}
    assert seen["reading"] == {"asked": [], "locked": locked, "wrong": False}
    assert seen["newest"] == {"asked": [1], "locked": free, "wrong": False}
    assert seen["changed"] == {"asked": [], "locked": locked, "wrong": True}


def test_a_training_can_be_chosen_while_the_others_are_read(tmp_path: Path) -> None:
    assert run(tmp_path / "dashboard", COMPARE, None) == {"first": 3, "table": ["a", "b"]}


def test_a_selection_is_asked_for_once_the_round_has_one_and_only_then_its_absence_is_an_error(tmp_path: Path) -> None:
    selecting, abandoned, training = run(tmp_path / "dashboard", TRAINING, None)
    assert selecting == [[], "The round is not planned yet."]
    assert abandoned == [["abandoned"], "The round ended before it was planned."]
    assert training == "no such selection"
