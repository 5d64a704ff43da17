// One training: its curves, a round of it as a timeline, the selection of that round, and its model versions.

import { pathOf } from "./api.js";
import { lineChart } from "./charts.js";
import { facts, h, p, paged, Panel, replace, row, table } from "./dom.js";
import { goal } from "./overview.js";
import { evaluations, roundFacts, selection, timeline } from "./round.js";
import { Rounds } from "./rounds.js";
import { ago, bytes, count, metric, number, seconds } from "./units.js";
import { Versions } from "./versions.js";
import { badge, LIVE, QUIET } from "./words.js";

const SETTINGS = ["id", "goal", "aggregation", "selection", "where", "hyperparameters", "round_policy", "evaluation", "uploads", "parameters", "retention", "origin", "seed"];
const CONTROLS = {
	start: ["Start", ["created"]], resume: ["Resume", ["paused", "failed"]], pause: ["Pause", ["running"]], cancel: ["Cancel", ["created", "running", "paused"]],
};
const WARNINGS = { cancel: "It ends for good. Its model and its history are kept.", pause: "An open round waits until the training is resumed." };

export class TrainingView {
	#chosen = null; // the round that is shown: null for the newest
	#selections = new Map();

	constructor(app, id, query) {
		this.app = app;
		this.id = id;
		this.title = "Training";
		this.rounds = new Rounds(app.api, id);
		this.versions = new Versions(app.api, id);
		this.#chosen = Number(query.get("round")) || null;
		this.head = h("div", {});
		this.panels = { curves: new Panel("Rounds towards the target"), round: new Panel(null), selection: new Panel("Why these clients"), rounds: new Panel("All rounds"), models: new Panel("Model versions"), settings: new Panel("Configuration") };
		this.element = h("div", {}, this.head, Object.values(this.panels).map((one) => one.element));
	}

	async refresh() {
		const { api } = this.app;
		const training = await api.get(pathOf("trainings", this.id));
		this.title = training.name;
		const newest = await this.rounds.read();
		const chosen = await this.#round(newest);
		const key = [training.updated_at, training.status, training.progress];
		if (JSON.stringify(key) !== this.drawn) { this.drawn = JSON.stringify(key); replace(this.head, this.#header(training)); }
		const rounds = this.rounds.all;
		this.panels.curves.show([rounds, training.goal, chosen?.number, this.app.width()], () => this.#curves(training, rounds, chosen));
		this.panels.round.show([chosen, rounds.length], () => (chosen ? [this.#steps(chosen, rounds), roundFacts(chosen, training), timeline(chosen, training), evaluations(chosen)] : p("empty", "No round has begun yet.")));
		const selected = chosen && await this.#selection(chosen);
		this.panels.selection.show([chosen?.number, chosen?.status, selected], () => selection(selected, chosen));
		this.panels.rounds.show(rounds, () => this.#table(training, rounds));
		this.panels.models.show(await this.versions.read(training), (items) => this.#versions(training, items));
		this.panels.settings.show({ ...training, updated_at: null, progress: null }, () => settings(training));
		return this.rounds.older ? 0 : training.status === "running" ? LIVE : QUIET;
	}

	async #round(newest) {
		if (this.#chosen === null || this.#chosen === newest?.number) return newest;
		if (this.kept?.number !== this.#chosen) this.kept = await this.app.api.get(pathOf("trainings", this.id, "rounds", this.#chosen));
		return this.kept;
	}

	// A round that is planned has a selection, and one that ended without a plan may have one, which says who was out.
	async #selection(round) {
		if (round.status === "selecting") return null;
		if (!this.#selections.has(round.number)) {
			const found = await this.app.api.get(pathOf("trainings", this.id, "rounds", round.number, "selection")).catch((error) => {
				if (error.status === 404 && round.plan === null) return null;
				throw error;
			});
			this.#selections.set(round.number, found);
		}
		return this.#selections.get(round.number);
	}

	choose(number) {
		this.#chosen = number;
		history.replaceState(null, "", `#/trainings/${this.id}${number ? `?round=${number}` : ""}`);
		this.app.refresh();
	}

	#header(training) {
		const { app } = this;
		const buttons = !app.may("operator") ? [] : Object.entries(CONTROLS).filter(([, [, from]]) => from.includes(training.status)).map(([verb, [word]]) => h("button", {
			class: verb === "cancel" ? "danger" : null, onclick: () => app.act(`${word} ${training.name}`, () => app.api.post(pathOf("trainings", this.id, verb)), WARNINGS[verb]) }, `${word}${verb === "cancel" ? "…" : ""}`));
		const waits = training.progress && training.progress.state !== "moving";
		return [h("div", { class: "title" }, h("h1", {}, training.name), badge(training.status), h("div", { class: "actions" }, buttons, h("a", { class: "button", href: `#/compare?trainings=${training.id}` }, "Compare"))),
			h("p", {}, `Round ${count(training.current_round)} of at most ${count(training.max_rounds)}; ${goal(training)}`, training.best_round !== null && `; best ${metric(training.goal.metric, training.best_value)} in round ${training.best_round}`, "."),
			training.stop_detail && h("p", {}, training.stop_detail),
			waits && p("warning", h("strong", {}, training.progress.state === "waiting" ? "It waits: " : "It is stalled: "), training.progress.reason ?? "", " (since ", ago(training.progress.since), ")")];
	}

	#curves(training, rounds, chosen) {
		const { metric: name, target } = training.goal;
		const [wide, narrow] = [this.app.width(), this.app.width(2)];
		const of = (field) => rounds.map((one) => [one.number, one[field]]);
		const marked = chosen?.number;
		return h("div", { class: "charts" },
			h("div", { class: "wide" }, lineChart({ title: name, points: of("goal_value"), limit: target, limitName: "target", format: (value) => metric(name, value), width: wide, height: 220, marked })),
			lineChart({ title: "Loss", points: of("loss"), format: number, width: narrow, marked }),
			lineChart({ title: "Duration", points: of("duration"), format: seconds, width: narrow, fromZero: true, marked }),
			lineChart({ title: "Planned link time", points: of("cost"), limit: training.selection.budget_constraint, limitName: "budget", format: seconds, width: narrow, fromZero: true, marked }),
			lineChart({ title: "Bytes over the server's links", points: of("bytes"), format: bytes, width: narrow, fromZero: true, marked }));
	}

	#steps(chosen, rounds) {
		const last = rounds.at(-1).number;
		const go = (number, text) => h("button", { disabled: number < rounds[0].number || number > last, onclick: () => this.choose(number === last ? null : number) }, text);
		return h("div", { class: "title" }, h("h2", {}, `Round ${chosen.number}`), badge(chosen.status), h("div", { class: "actions" }, go(chosen.number - 1, "Round before"), go(chosen.number + 1, "Round after"), go(last, "Newest")));
	}

	#table(training, rounds) {
		const { metric: name } = training.goal;
		return paged([...rounds].reverse(), 15, (shown) => table(["Round", "State", name, "Loss", "Clients", "Duration", "Link time", "Bytes", "Ended"], shown.map((one) => row(
			h("button", { class: "link", onclick: () => { this.choose(one.number); this.panels.round.element.scrollIntoView(); } }, String(one.number)),
			[badge(one.status), one.reason && h("div", { class: "quiet" }, one.reason)], metric(name, one.goal_value), number(one.loss), `${one.received} of ${one.selected}`, seconds(one.duration), seconds(one.cost), bytes(one.bytes), one.ended_at ? ago(one.ended_at) : "")), "Rounds, the newest first"));
	}

	#versions(training, items) {
		if (items.length === 0) return p("empty", "There is no model yet.");
		const best = training.best_round;
		return paged(items, 10, (shown) => table(["Round", training.goal.metric, "Size", "SHA-256", "Made", "Actions"], shown.map((one) => row(
			[one.round === 0 ? "0 (initial)" : String(one.round), one.round === best && h("span", { class: "badge good" }, "best"), one.pinned && h("span", { class: "badge active" }, "pinned")],
			metric(training.goal.metric, one.goal_value), bytes(one.size), h("code", { title: one.sha256 }, one.sha256.slice(0, 12)), ago(one.created_at),
			one.removed_at ? h("span", { class: "quiet" }, "removed") : this.#actions(training, one))), "Model versions, the newest first"));
	}

	#actions(training, version) {
		const { app } = this;
		const of = `the version of round ${version.round}`;
		const button = (name, does) => h("button", { "aria-label": `${name} ${of}`, onclick: does }, name);
		const word = version.pinned ? "Unpin" : "Pin";
		const pin = () => app.act(`${word} ${of}`, () => this.versions.pin(version));
		return h("div", { class: "actions" }, button("Download", () => this.#download(version)),
			app.may("operator") && [button(word, pin), button("Fork", () => this.#fork(training, version, of))]);
	}

	#fork(training, version, of) {
		const { app } = this;
		return app.act(`Fork ${of}`, async () => {
			const made = await this.versions.fork(training, version);
			location.hash = `#/trainings/${made.id}`;
		}, `A new training begins with ${of}, and has the configuration of this one. It does nothing until you start it.`);
	}

	async #download(version) {
		await this.app.attempt(async () => {
			const file = await this.versions.file(version);
			const address = URL.createObjectURL(file);
			h("a", { href: address, download: `${this.id}-round-${version.round}.safetensors` }).click();
			setTimeout(() => URL.revokeObjectURL(address), 60000);
		});
	}
}

function settings(training) {
	return h("details", { "data-keep": "settings" }, h("summary", {}, "Show how it was configured"), facts(SETTINGS.filter((name) => training[name] !== null).map((name) => [name.replaceAll("_", " "), text(training[name])])));
}

function text(value) {
	if (value === null) return "none";
	if (typeof value !== "object") return String(value);
	return Object.entries(value).map(([name, one]) => `${Array.isArray(value) ? "" : `${name} `}${text(one)}`).join(", ") || "none";
}
