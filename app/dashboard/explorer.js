// The selection explorer: move what a strategy goes by, and see who would be chosen. It only asks for plans, which change nothing.

import { pathOf } from "./api.js";
import { facts, h, p, Panel, replace, row, table } from "./dom.js";
import { planned } from "./plans.js";
import { selection } from "./round.js";
import { many, number, seconds } from "./units.js";
import { clientLink } from "./words.js";

const PAUSE = 250, WEIGHT = { minimum: 0, maximum: 1000, span: 3 };
const WEIGHTS = { data_quality: "labels of the set", communication: "link time", compute: "duration of the round", fairness: "who was left out before" };
const WEIGHED = new Set(["tcs-feel"]); // the strategies that look at the weights
const CLIENTS = { text: "clients", minimum: 1, maximum: 100000, step: 1 };
const FIGURES = [["Link time", "total_cost", seconds], ["Until the slowest has sent", "expected_seconds", seconds], ["Label divergence", "label_divergence", number], ["Fairness", "fairness", number]];
const DEFAULT = { id: "", name: "the defaults", selection: {}, seed: 0, topology: "star", where: null };

export class Explorer {
	#strategies = null;
	#clients = [];
	#trainings = [];
	#start = null; // the training whose choice is the present one
	#present = null; // its plan
	#moved = {}; // what was moved, by field of the rules
	#asked = 0; // the number of the newest plan
	#begun = 0; // the number of the newest beginning
	#wanted; // the id of the training that it begins with
	#timer = null;

	constructor(app) {
		this.app = app;
		this.panel = new Panel("Selection explorer");
		this.element = this.panel.element;
		this.result = new Panel(null);
		this.controls = h("fieldset", { class: "bare", "aria-label": "What the strategy goes by" });
	}

	async refresh(trainings) {
		const { api } = this.app;
		this.#trainings = [...trainings, DEFAULT];
		if (this.#strategies === null) {
			this.#strategies = (await api.get("v1/strategies")).items;
			this.#build();
		}
		this.#options();
		if (this.#start === null || this.from.value !== this.#wanted) await this.#begin();
		else if (this.#present === null) await this.#plan(++this.#asked);
	}

	#build() {
		this.from = h("select", { onchange: () => this.#begin() });
		this.strategy = h("select", { onchange: () => { this.#moved = { strategy: this.strategy.value, parameters: {} }; this.#draw(); this.#ask(); } }, this.#strategies.map((one) => h("option", {}, one.name)));
		replace(this.panel.body, p("quiet", "Move a slider and see whom the next round would select with the clients as they are now. Nothing is started or stored. A plan knows no past rounds, so a training may choose others."),
			h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, h("label", {}, "Begin with", this.from), h("label", {}, "Strategy", this.strategy), h("button", { onclick: () => this.#begin() }, "Back to the present choice")), this.controls, this.result.body);
	}

	#options() {
		const key = JSON.stringify(this.#trainings.map(({ id, name }) => [id, name]));
		if (key === this.options) return;
		this.options = key;
		replace(this.from, this.#trainings.map(({ id, name }) => h("option", { value: id, selected: id === this.#wanted }, name)));
	}

	// Begin with the rules of a training, whose plan is the present choice. Only the newest beginning counts; if it fails, a later refresh begins again.
	async #begin() {
		const begun = ++this.#begun;
		const start = this.#trainings.find((one) => one.id === this.from.value) ?? DEFAULT;
		clearTimeout(this.#timer);
		[this.#asked, this.#wanted, this.#start] = [this.#asked + 1, start.id, null];
		this.#allow();
		try {
			const clients = await this.app.api.all("v1/clients");
			const newest = start.id ? (await this.app.api.get(pathOf("trainings", start.id, "models"), { limit: 1 })).items[0] : null;
			if (begun !== this.#begun) return;
			const { strategy = "tcs-feel" } = start.selection;
			if (!this.#strategies.some((one) => one.name === strategy)) throw new Error(`This server does not have the strategy ${strategy}.`);
			this.strategy.value = strategy;
			[this.#start, this.#clients, this.size, this.#moved, this.#present] = [start, clients, newest?.size, {}, null];
		} catch (error) {
			if (begun === this.#begun) this.result.show(error.message, (text) => p("warning", `${text} The page tries again by itself.`));
			return;
		}
		this.#allow();
		this.#draw();
		await this.#plan(++this.#asked);
	}

	// Nothing can be moved until it is known what to begin with.
	#allow() { this.controls.disabled = this.strategy.disabled = this.#start === null; }

	// The rules of the plan: those of the training, with what was moved.
	get #rules() {
		const { selection: rules } = this.#start;
		const { weights, parameters, ...moved } = this.#moved;
		return { ...rules, ...moved, weights: { ...rules.weights, ...weights }, parameters: { ...(moved.strategy ? {} : rules.parameters), ...parameters } };
	}

	#draw() {
		const rules = this.#rules;
		const chosen = this.#strategies.find((one) => one.name === this.strategy.value);
		const set = (group, name, value) => {
			if (group) this.#moved[group] = { ...this.#moved[group], [name]: value };
			else this.#moved[name] = value;
			this.#ask();
		};
		const weights = WEIGHED.has(chosen.name) ? Object.entries(WEIGHTS).map(([name, text]) => slider(name, text, { ...WEIGHT, value: rules.weights[name] ?? (name === "fairness" ? 0.5 : 1) }, (value) => set("weights", name, value))) : [];
		replace(this.controls, p("quiet", chosen.summary), h("div", { class: "sliders" }, weights,
			chosen.parameters.map((one) => slider(one.name, one.meaning, { ...one, span: Math.min(one.maximum, 4 * (one.default || one.maximum / 4)), value: rules.parameters[one.name] ?? one.default }, (value) => set("parameters", one.name, value))),
			Object.entries({ min_clients: { ...CLIENTS, value: rules.min_clients ?? 10 }, max_clients: { ...CLIENTS, value: rules.max_clients ?? 30 }, budget_constraint: { text: "seconds of link time", minimum: 0, maximum: 1e12, span: 2 * (this.#present?.total_cost || 5), value: rules.budget_constraint ?? null, optional: true } })
				.map(([name, one]) => slider(name, one.text, { span: Math.min(100, this.#clients.length || 1), ...one }, (value) => set(null, name, value)))));
	}

	#ask() {
		clearTimeout(this.#timer);
		const asked = ++this.#asked;
		this.#timer = setTimeout(() => this.#plan(asked), PAUSE);
	}

	async #plan(asked) {
		if (this.#start === null) return;
		const ask = (rules) => this.app.api.post("v1/selections", planned({ ...this.#start, selection: rules }, this.#clients, this.size));
		try {
			const begun = this.#begun;
			if (this.#present === null) {
				const present = await ask(this.#start.selection);
				if (begun !== this.#begun) return;
				this.#present = present;
				this.#draw();
			}
			const found = Object.keys(this.#moved).length === 0 ? this.#present : await ask(this.#rules);
			if (asked === this.#asked) this.result.show([this.#present, found], () => [difference(this.#present, found), selection(found).slice(1)]);
		} catch (error) {
			if (asked === this.#asked) this.result.show(error.message, (text) => p("warning", text));
		}
	}
}

// A slider for the usual values, with a field beside it that takes all that are allowed. If it is `optional`, nothing in it means no limit.
function slider(name, text, { minimum, maximum, span, value, optional = false, step = span > 50 ? 1 : span > 2 ? 0.1 : span / 100 }, changed) {
	const label = name.replaceAll("_", " ");
	const range = h("input", { type: "range", min: minimum, max: Math.max(span, value ?? 0), step, "aria-label": `${label}: slider`, oninput: () => { field.value = range.value; field.setAttribute("aria-invalid", "false"); changed(Number(range.value)); } });
	range.value = value ?? range.max;
	const field = h("input", { type: "number", min: minimum, max: maximum, step: "any", required: !optional, placeholder: optional && "no limit", "aria-label": label, oninput: () => {
		field.setAttribute("aria-invalid", String(!field.validity.valid));
		if (!field.validity.valid) return;
		range.value = field.value === "" ? range.max : field.value;
		changed(field.value === "" ? null : Number(field.value));
	} });
	field.value = value ?? "";
	return h("div", { class: "slider" }, h("span", {}, h("strong", {}, label), h("span", { class: "quiet" }, ` ${text}`)), range, field);
}

const instead = (now, before) => (now === before ? now : `${now} instead of ${before}`);

// What a plan changes against the present choice.
function difference(present, found) {
	const [before, after] = [present, found].map((plan) => new Map(plan.selected.map((one) => [one.client_id, one])));
	const joins = [...after.keys()].filter((id) => !before.has(id));
	const leaves = [...before.keys()].filter((id) => !after.has(id));
	const why = new Map(found.skipped.map((one) => [one.client_id, one.reason]));
	const stay = after.size - joins.length;
	return [h("h3", {}, "Against the present choice"),
		facts([["Clients", instead(String(after.size), String(before.size))], ...FIGURES.map(([title, name, format]) => [title, instead(format(found[name]), format(present[name]))])]),
		joins.length + leaves.length === 0 ? h("p", { class: "fine" }, `The choice is the same: ${many(stay, "client")}.`) : [p("", `${many(stay, "client")} would stay, ${joins.length} would join, ${leaves.length} would leave.`),
			table(["Client", "Change", "Score", "Link time", "Why"], [
				...joins.map((id) => row(clientLink(id), "joins", number(after.get(id).score, 3), seconds(after.get(id).marginal_cost), Object.entries(after.get(id).components).map(([name, value]) => `${name} ${number(value, 3)}`).join(", "))),
				...leaves.map((id) => row(clientLink(id), "leaves", number(before.get(id).score, 3), seconds(before.get(id).marginal_cost), why.get(id) ?? "")) ], "Who would join and leave")]];
}
