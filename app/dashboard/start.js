// A form that creates a training and starts it. Its fields, texts and bounds come from the OpenAPI document.

import { newKey, pathOf, SERVER } from "./api.js";
import { copied, h, p, Panel, replace } from "./dom.js";
import { choice, costs, planned } from "./plans.js";
import { bounds, fieldsOf, put, read } from "./schema.js";
import { curl, python } from "./snippets.js";
import { QUIET } from "./words.js";

const FIRST = ["name", "recipe", "target_accuracy", "max_rounds", "aggregation", "selection/strategy", "selection/min_clients", "selection/max_clients", "selection/budget_constraint", "hyperparameters/local_epochs", "hyperparameters/learning_rate", "hyperparameters/batch_size"];
const OLD = "statistics"; // the older name of another field
const STRATEGY = "selection/strategy", RECIPE = "recipe", TOPOLOGY = "topology";
const PAUSE = 400, CLIENTS_SECONDS = 20;
const named = (path) => path.split("/").at(-1).replaceAll("_", " ");
// A text of the document as a sentence, with what stands between backticks as code.
const prose = (text) => text && [text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part)), /[.:;]$/.test(text) ? " " : ". "];

export class StartView {
	title = "Start a training";
	#inputs = new Map(); // by the path of the field
	#strategies = [];
	#recipes = {}; // the defaults of each recipe
	#clients = [];
	#readAt = 0;
	#timer = null;
	#asked = 0; // the number of the newest plan
	#marks = new Map(); // what the server refused when the form was sent, by the path of the field, until that field changes
	#tuned = null; // the strategy whose parameters are shown
	#once = null; // the body that was sent last, with its idempotency key

	constructor(app) {
		this.app = app;
		this.panels = { form: new Panel(this.title), plan: new Panel("Who would train"), code: new Panel("The same as code") };
		this.panels.plan.body.setAttribute("aria-live", "polite");
		this.tuning = h("div", { class: "fields" });
		this.element = h("div", {}, Object.values(this.panels).map((one) => one.element));
	}

	async refresh() {
		const { api } = this.app;
		if (this.#inputs.size === 0) {
			const [document, strategies] = await Promise.all([api.get("openapi.json"), api.get("v1/strategies")]);
			this.#strategies = strategies.items;
			this.#draw(fieldsOf(document, "CreateTraining").filter((one) => one.path !== OLD));
		}
		if (Date.now() - this.#readAt > CLIENTS_SECONDS * 1000) {
			this.#clients = await api.all("v1/clients");
			this.#readAt = Date.now();
			await this.#plan();
		}
		return QUIET;
	}

	#draw(fields) {
		const strategy = fields.find((one) => one.path === STRATEGY);
		this.#recipes = fields.find((one) => one.path === RECIPE)?.recipes ?? {};
		[strategy.kind, strategy.enum] = ["enum", this.#strategies.map((one) => one.name)];
		const first = FIRST.map((path) => fields.find((one) => one.path === path)).filter(Boolean);
		const groups = Map.groupBy(fields.filter((one) => !FIRST.includes(one.path)), (one) => one.group);
		const mayStart = this.app.may("operator");
		this.about = p("quiet", "");
		this.wrong = h("div", { class: "wrong", role: "alert" });
		this.form = h("form", { novalidate: true, onsubmit: (event) => { event.preventDefault(); this.#send(event.submitter?.value !== "create"); } },
			p("quiet", "Only the name is needed. A field that is left empty has the value that it shows in grey, and a recipe changes these values."),
			h("div", { class: "fields" }, first.map((one) => this.#field(one))), this.about, this.tuning,
			[...groups].map(([group, members]) => h("details", {}, h("summary", {}, `More: ${group ? named(group) : members.map((one) => named(one.path)).join(", ")}`), members[0].about && p("quiet", prose(members[0].about)), h("div", { class: "fields" }, members.map((one) => this.#field(one))))),
			this.wrong,
			mayStart ? h("div", { class: "actions" }, h("button", { class: "primary", value: "start" }, "Start the training"), h("button", { value: "create" }, "Only create it"))
				: p("warning", "Your key has the role viewer, which may look at everything and start nothing. Ask an admin for a key with the role operator: you can then log in with it, or run the code below."));
		this.panels.form.show(fields, () => this.form);
		this.#tune();
		this.#code();
	}

	#field(field) {
		const id = `f-${field.path.replaceAll("/", "-")}`;
		const attributes = { id, name: field.path, "aria-describedby": `${id}-about ${id}-wrong`, "aria-required": field.required && "true", oninput: () => this.#changed(field) };
		const options = field.kind === "boolean" ? ["true", "false"] : field.enum;
		const input = options ? h("select", attributes, h("option", { value: "" }), options.map((one) => h("option", {}, one)))
			: h("input", { ...attributes, spellcheck: "false", autocomplete: "off", inputmode: ["integer", "number"].includes(field.kind) ? "decimal" : null });
		const wrong = h("div", { id: `${id}-wrong`, class: "wrong" });
		this.#inputs.set(field.path, { field, input, wrong });
		this.#hint(field, input);
		const form = { array: "Separated by commas.", map: "Such as site: north, separated by commas." }[field.kind] ?? bounds(field);
		return h("div", { class: "field" }, h("label", { for: id }, named(field.path), field.required && " (needed)"), input, wrong, h("div", { id: `${id}-about`, class: "quiet" }, prose(field.text), form));
	}

	// The value that a field has if it is left empty: that of the recipe, or its default.
	#preset(field) {
		const recipe = this.#recipes[this.#inputs.get(RECIPE)?.input.value];
		const value = field.path.split("/").reduce((part, name) => part?.[name], recipe) ?? field.preset;
		return value === null || value === undefined || typeof value === "object" ? "" : String(value);
	}

	#hint(field, input) {
		const preset = this.#preset(field);
		if (input.options) input.options[0].textContent = preset ? `${preset} (if left so)` : "none";
		else input.placeholder = preset;
	}

	// Show the fields of the parameters that the chosen strategy has.
	#tune() {
		const chosen = this.#strategy();
		if (chosen.name === this.#tuned) return;
		this.#tuned = chosen.name;
		for (const path of this.#inputs.keys()) {
			if (!path.startsWith("selection/parameters/")) continue;
			this.#inputs.delete(path);
			this.#marks.delete(path);
		}
		this.about.textContent = `${chosen.name}: ${chosen.summary}`;
		replace(this.tuning, chosen.parameters.map((one) => this.#field({ path: `selection/parameters/${one.name}`, kind: "number", text: one.meaning, preset: one.default, minimum: one.minimum, maximum: one.maximum })));
	}

	#strategy() {
		const { field, input } = this.#inputs.get(STRATEGY);
		return this.#strategies.find((one) => one.name === (input.value || this.#preset(field)));
	}

	#changed(field) {
		this.#marks.delete(field.path);
		if (field.path === RECIPE) for (const one of this.#inputs.values()) this.#hint(one.field, one.input);
		if (field.path === RECIPE || field.path === STRATEGY) this.#tune();
		this.#judge(field.path);
		this.wrong.textContent = "";
		this.#code();
		clearTimeout(this.#timer);
		this.#timer = setTimeout(() => this.#plan(), PAUSE);
	}

	// Mark a field with what is wrong in it, or with what the server has refused.
	#judge(path) {
		const { field, input } = this.#inputs.get(path);
		this.#say(path, read(field, input.value)[1] || this.#marks.get(path) || "");
	}

	#say(path, problem) {
		const { input, wrong } = this.#inputs.get(path);
		wrong.textContent = problem && `It ${problem}.`;
		input.setAttribute("aria-invalid", String(Boolean(problem)));
	}

	// Show what the server refuses beside the fields. What belongs to no field stands above the buttons.
	#refused(error, above = "") {
		const rest = [];
		for (const { pointer, detail } of error.errors) {
			const path = above + pointer.slice(1);
			const place = [...this.#inputs.keys()].find((one) => path === one || path.startsWith(`${one}/`));
			if (place) {
				this.#say(place, detail);
				if (!above) this.#marks.set(place, detail);
			} else rest.push(`${path}: ${detail}`);
		}
		return rest;
	}

	// The body of the request, and the first field that is wrong, `unless` that does not matter yet.
	#read(unless) {
		const body = {};
		let first = null;
		for (const [path, { field, input }] of this.#inputs) {
			const [value, problem] = read(field, input.value);
			if (problem && path !== unless) first ??= path;
			if (value !== undefined) put(body, path, value);
		}
		return { body, first };
	}

	#code() {
		const { body } = this.#read();
		const ask = "It reads your key from the environment variable TCSFEEL_KEY.";
		const shown = [["Shell, with curl", curl(SERVER, { name: "my training", ...body })], ["Python", python(SERVER, { name: "my training", ...body })]];
		this.panels.code.show(shown, () => [p("quiet", ask), shown.map(([name, text]) => [h("div", { class: "title" }, h("h3", {}, name), h("button", { "aria-label": `Copy: ${name}`, onclick: async () => this.app.tell(await copied(text) ? "Copied." : "The browser allows no copies here: select the text.") }, "Copy")), h("pre", { tabindex: 0, role: "region", "aria-label": name }, h("code", {}, text))])]);
	}

	// Ask the server whom the first round would select. It stores nothing.
	async #plan() {
		const { body, first } = this.#read("name");
		const [asked, { panels: { plan: panel }, app }] = [++this.#asked, this];
		for (const path of this.#inputs.keys()) if (path !== "name") this.#judge(path);
		if (first) return panel.show(first, () => p("quiet", `First correct the field ${named(first)}.`));
		const show = (...lines) => asked === this.#asked && panel.show([body, lines, this.#readAt], () => [choice(this.#clients, body.where), lines]);
		try {
			const topology = this.#inputs.get(TOPOLOGY);
			const found = await app.api.post("v1/selections", planned({ ...body, topology: body.topology ?? this.#preset(topology.field), selection: { strategy: this.#strategy().name, ...body.selection } }, this.#clients));
			show(p("", `With the data of now and a model of 1 MB, a first round would select ${costs(found)}.`), p("ids", found.selected.map((one) => `${one.client_id} `)));
		} catch (error) {
			const rest = error.status === 422 && asked === this.#asked ? this.#refused(error, "selection/") : [error.message];
			show(p("warning", rest.join("; ") || "The server refuses the fields that are marked."));
		}
	}

	async #send(start) {
		const { app } = this;
		const { body, first } = this.#read();
		this.#marks.clear();
		for (const path of this.#inputs.keys()) this.#judge(path);
		if (first) return this.#focus(first);
		const text = JSON.stringify(body);
		if (this.#once?.text !== text) this.#once = { text, key: newKey() };
		const buttons = this.form.querySelectorAll("button");
		buttons.forEach((one) => { one.disabled = true; });
		try {
			const training = await app.api.post("v1/trainings", body, { "Idempotency-Key": this.#once.key });
			if (!start || await app.attempt(() => app.api.post(pathOf("trainings", training.id, "start")))) app.tell(`Done: ${start ? "Start" : "Create"} ${training.name}.`);
			location.hash = `#/trainings/${training.id}`;
		} catch (error) {
			const rest = error.status === 422 ? this.#refused(error) : [error.message];
			this.wrong.textContent = rest.join("; ") || "The server refuses the fields that are marked.";
			const marked = [...this.#inputs].find(([, { wrong }]) => wrong.textContent !== "");
			if (error.status === 422 && marked) this.#focus(marked[0]);
		}
		buttons.forEach((one) => { one.disabled = false; });
	}

	#focus(path) {
		const { input } = this.#inputs.get(path);
		const group = input.closest("details");
		if (group) group.open = true;
		input.focus();
	}
}
