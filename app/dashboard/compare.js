// Trainings beside each other: the curves of their goal's metric, what it cost to reach a target, and the selection explorer.

import { pathOf } from "./api.js";
import { lineChart, sample, STYLES } from "./charts.js";
import { h, p, Panel, row, table } from "./dom.js";
import { Explorer } from "./explorer.js";
import { Rounds } from "./rounds.js";
import { bytes, count, metric, number, seconds } from "./units.js";
import { badge, LIVE, QUIET, trainingLink } from "./words.js";

const OFFERED = 30, MOST = STYLES.length;
const SUMS = ["cost", "duration", "bytes"];

export class CompareView {
	title = "Compare";
	#trainings = new Map(); // those that can be chosen, by id
	#chosen;
	#rounds = new Map(); // by the id of the training
	#target = null; // what the user has entered

	constructor(app, query) {
		this.app = app;
		this.#chosen = query.get("trainings")?.split(",").filter(Boolean).slice(0, MOST) ?? null;
		this.panels = { choice: new Panel("Compare trainings"), curves: new Panel("Curves"), table: new Panel("What it took") };
		this.explorer = new Explorer(app);
		this.target = h("input", { name: "target", inputmode: "decimal", oninput: () => { this.#target = this.target.value.trim(); this.#draw(); } });
		this.panels.table.body.before(h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, h("label", {}, "Target to reach", this.target)));
		this.element = h("div", {}, Object.values(this.panels).map((one) => one.element), this.explorer.element);
	}

	async refresh() {
		const { api } = this.app;
		const newest = (await api.get("v1/trainings", { limit: OFFERED })).items;
		const chosen = (this.#chosen ??= newest.filter((one) => one.current_round > 0).slice(0, 2).map((one) => one.id)); // the user may choose others meanwhile
		const others = await Promise.all(chosen.filter((id) => !newest.some((one) => one.id === id)).map((id) => api.get(pathOf("trainings", id))));
		this.#trainings = new Map([...newest, ...others].map((one) => [one.id, one]));
		await Promise.all(chosen.map((id) => this.#read(id)));
		this.#draw();
		await this.explorer.refresh(this.#shown.map(({ training }) => training));
		return chosen.some((id) => this.#rounds.get(id).older) ? 0 : this.#shown.some(({ training }) => training.status === "running") ? LIVE : QUIET;
	}

	async #read(id) {
		const { status, updated_at: changed } = this.#trainings.get(id);
		if (!this.#rounds.has(id)) this.#rounds.set(id, new Rounds(this.app.api, id));
		const rounds = this.#rounds.get(id);
		if (status !== "running" && rounds.readAt === changed && !rounds.older) return;
		await rounds.read();
		rounds.readAt = changed;
	}

	get #shown() { return (this.#chosen ?? []).filter((id) => this.#rounds.has(id) && this.#trainings.has(id)).map((id) => ({ training: this.#trainings.get(id), rounds: this.#rounds.get(id).all, missing: this.#rounds.get(id).missing })); }

	#choose(id, wanted) {
		this.#chosen = wanted ? [...this.#chosen, id] : this.#chosen.filter((one) => one !== id);
		history.replaceState(null, "", `#/compare?trainings=${this.#chosen.join(",")}`);
		this.app.refresh();
	}

	#draw() {
		const offered = [...this.#trainings.values()];
		this.panels.choice.show([offered.map(({ id, name, status }) => [id, name, status]), this.#chosen], () => this.#choice(offered));
		const shown = this.#shown;
		const goal = shown[0]?.training.goal;
		const asked = this.#target === null ? goal?.target ?? null : this.#target === "" || !Number.isFinite(Number(this.#target)) ? null : Number(this.#target);
		if (this.#target === null && document.activeElement !== this.target) this.target.value = goal?.target ?? "";
		const empty = () => p("empty", offered.length === 0 ? "No training exists yet." : "Choose two trainings or more.");
		const series = shown.map(({ training, rounds, missing }) => ({ training, missing, ...along(rounds, goal, asked, missing === null) }));
		const key = [series.map(({ points, missing, training }) => [training.id, training.name, training.status, missing, points]), asked, this.app.width()];
		this.panels.curves.show(key, () => (shown.length === 0 ? empty() : this.#curves(series, goal, asked)));
		this.panels.table.show(key, () => (shown.length === 0 ? empty() : results(series, goal, asked)));
	}

	#choice(offered) {
		if (offered.length === 0) return p("empty", "No training exists yet. ", h("a", { href: "#/start" }, "Start one"), ".");
		return h("fieldset", { class: "choices" }, h("legend", {}, `Choose up to ${MOST}`), offered.map(({ id, name, status }) => {
			const index = this.#chosen.indexOf(id);
			return h("label", {}, h("input", { type: "checkbox", "data-keep": id, checked: index >= 0, disabled: index < 0 && this.#chosen.length >= MOST, onchange: (event) => this.#choose(id, event.target.checked) }), index >= 0 && sample(index), h("span", {}, name), badge(status));
		}));
	}

	#curves(series, { metric: name }, target) {
		const [wide, narrow] = [this.app.width(), this.app.width(2)];
		const chart = (title, of, options) => lineChart({ title, curves: series.map(({ training, points }) => ({ name: training.name, points: points.filter((one) => one[of] !== null).map((one) => [one[of], one.value]) })), limit: target, limitName: "target", format: (value) => metric(name, value), ...options });
		const strange = series.filter(({ training }) => training.goal.metric !== name);
		return [p("legend", series.map(({ training }, index) => h("span", {}, sample(index), " ", trainingLink(training.id, training.name)))),
			strange.length > 0 && p("quiet", `The curves show ${name}, the goal of the first training. The goal of ${strange.map(({ training }) => `${training.name} is ${training.goal.metric}`).join(", of ")}.`),
			h("div", { class: "charts" }, h("div", { class: "wide" }, chart(`${name} over rounds`, "number", { width: wide, height: 240 })),
				series.some(({ missing }) => missing === null) && [chart(`${name} over link time`, "cost", { width: narrow, height: 200, along: "link time", place: seconds }), chart(`${name} over duration`, "duration", { width: narrow, height: 200, along: "duration", place: seconds })])];
	}
}

// The curve of a metric, with all costs until then, and the first point that reaches the target. If rounds are missing, the costs
// and that point are null: they would be those of the known rounds alone.
export function along(rounds, goal, target, whole = true) {
	const spent = Object.fromEntries(SUMS.map((name) => [name, whole ? 0 : null]));
	const points = [];
	for (const one of rounds) {
		if (whole) for (const name of SUMS) spent[name] += one[name] ?? 0;
		points.push({ number: one.number, value: one.means[goal.metric] ?? null, ...spent });
	}
	const measured = points.filter((one) => one.value !== null);
	const better = (one, other) => (goal.mode === "max" ? one >= other : one <= other);
	const best = measured.reduce((one, other) => (one === null || !better(one.value, other.value) ? other : one), null);
	return { points, best, last: measured.at(-1) ?? null, end: points.at(-1) ?? null, reached: target === null || !whole ? null : measured.find((one) => better(one.value, target)) ?? null };
}

function results(series, { metric: name }, target) {
	const cells = (one) => [seconds(one?.cost), bytes(one?.bytes), seconds(one?.duration)];
	return [table(["Training", "Strategy", "Aggregation", "Rounds to target", "Link time", "Bytes", "Duration", "Final value", "Best value"], series.map(({ training, missing, points, reached, best, last, end }, index) => row(
		[sample(index), " ", trainingLink(training.id, training.name)], training.selection.strategy, training.aggregation,
		missing === "reading" ? "still reading" : missing ? "not known" : reached ? count(reached.number) : target === null ? "no target" : end ? `not in ${count(end.number)}` : "no round yet", ...cells(reached ?? end),
		metric(name, last?.value), best ? `${metric(name, best.value)} in round ${count(best.number)}${missing ? `, since round ${count(points[0].number)}` : ""}` : "–")), "What it took to reach the target"),
	series.filter(({ missing }) => missing).map(({ training, missing, points, end }) => p("warning", `The page has ${count(points.length)} of the ${count(end.number)} rounds of ${training.name}, so it shows no totals and no curves over link time and duration. ${missing === "reading" ? "It is still reading the older ones." : "It keeps about the newest 1,000: add up the older ones from the REST API."}`)),
	p("quiet", `Link time, bytes and duration are what all rounds took until the target${target === null ? " (there is none)" : `, ${name} ${name === "accuracy" ? metric(name, target) : number(target)}`}, or until the last round where it is not reached.`)];
}
