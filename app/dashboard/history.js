// A client over time: how its breaker changed and why, and what it measured in its rounds.

import { lineChart, sample } from "./charts.js";
import { h, p, paged, row, svg, table } from "./dom.js";
import { ago, metric, number, seconds } from "./units.js";
import { breaker, kind, trainingLink } from "./words.js";

const TYPES = ["breaker.open", "breaker.half_open", "breaker.closed"];
const MOST_CHANGES = 200, MOST_CHARTS = 8, PAGE = 10, TIME = "time of its task";

// The newest changes of a client's breaker. After the first time, only new ones are read.
export class Changes {
	#cursor = 0;
	#found = [];

	constructor(api, id) {
		this.api = api;
		this.id = id;
	}

	async read() {
		let page;
		do {
			page = await this.api.get("v1/events", { client: this.id, type: TYPES, after: this.#cursor, limit: 1000 });
			this.#cursor = page.cursor;
			this.#found = [...this.#found, ...page.items].slice(-MOST_CHANGES);
		} while (page.more);
		return this.#found;
	}
}

// How long each state lasted, oldest first, in milliseconds. The last one goes on.
export function stretches(changes, now) {
	return changes.map(({ type, at, data, actor }, index) => {
		const from = Date.parse(at), next = changes[index + 1];
		return { state: type.split(".")[1], at, from, to: Math.max(from, next ? Date.parse(next.at) : now), last: !next, reason: data.reason ?? null, actor };
	});
}

export function breakerHistory(changes) {
	if (changes.length === 0) return p("quiet", "No change of its breaker is on record.");
	const all = stretches(changes, Date.now());
	const first = all[0].from, scale = 1000 / Math.max(1, all.at(-1).to - first);
	const lasted = (one) => (one.last ? "goes on" : seconds((one.to - one.from) / 1000));
	const named = (one) => `${one.state.replace("_", " ")}, ${lasted(one)}${one.reason ? `: ${one.reason}` : ""}`;
	return [h("h3", {}, "How it changed"),
		svg("svg", { class: "bar", viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img", "aria-label": `${all.length} states of the breaker; the table has them` },
			all.map((one) => svg("rect", { class: `fill ${kind(one.state)}`, x: (one.from - first) * scale, y: 1, width: Math.max(2, (one.to - one.from) * scale), height: 14 }, svg("title", {}, named(one))))),
		p("quiet", "From ", ago(all[0].at), " to now."),
		paged(all.reverse(), PAGE, (shown) => table(["State", "Since", "For", "Why", "By"], shown.map((one) => row(breaker(one.state), ago(one.at), lasted(one), one.reason ?? "", one.actor ?? "")), "States of the breaker, the newest first"))];
}

// What a client measured, by the name of the figure: one curve for each training. Figures of fewer than two rounds are left out.
export function figures(parts) {
	const trainings = [...new Map(parts.map((one) => [one.training_id, one.training]))].map(([id, name]) => ({ id, name }));
	const found = new Map();
	for (const part of [...parts].sort((one, other) => one.round - other.round)) {
		for (const [name, value] of Object.entries({ accuracy: part.accuracy, loss: part.loss, ...part.metrics, [TIME]: part.seconds })) {
			if (value === null) continue;
			if (!found.has(name)) found.set(name, trainings.map((one) => ({ ...one, points: [] })));
			found.get(name).find((one) => one.id === part.training_id).points.push([part.round, value]);
		}
	}
	return { trainings, charts: [...found].filter(([, curves]) => curves.some((one) => one.points.length > 1)).slice(0, MOST_CHARTS) };
}

export function figureCharts(parts, width) {
	const { trainings, charts } = figures(parts);
	if (charts.length === 0) return p("quiet", "It has no figures of two rounds of one training yet.");
	const format = (name) => (name === TIME ? seconds : name === "accuracy" ? (value) => metric(name, value) : number);
	return [p("legend", trainings.map((one, index) => [sample(index), " ", trainingLink(one.id, one.name), " "])),
		h("div", { class: "charts" }, charts.map(([name, curves]) => lineChart({ title: name, curves, format: format(name), width })))];
}
