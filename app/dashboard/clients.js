// The list of clients, and one client: what it claims, what was measured, its failures, and its part in rounds.

import { pathOf } from "./api.js";
import { facts, h, p, paged, Panel, row, table } from "./dom.js";
import { breakerHistory, Changes, figureCharts } from "./history.js";
import { ago, at, count, many, number, seconds } from "./units.js";
import { badge, breaker, clientLink, LIVE, trainingLink } from "./words.js";

const PAGE = 50, TRAININGS = 5, ROUNDS = 10, EVERY_SECONDS = 10;

export class ClientsView {
	title = "Clients";
	#clients = [];
	#readAt = 0;

	constructor(app, query) {
		this.app = app;
		this.panel = new Panel("Clients");
		const field = (name, label, options) => h("label", {}, label, h("select", { name, onchange: () => this.#draw() }, options.map(([value, text]) => h("option", { value, selected: query.get(name) === value }, text))));
		this.filters = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() },
			h("label", {}, "Id or tag", h("input", { type: "search", name: "text", value: query.get("text") ?? "", oninput: () => this.#draw() })),
			field("status", "Health", [["", "all"], ["healthy", "healthy"], ["suspect", "suspect"], ["down", "down"]]),
			field("breaker", "Breaker", [["", "all"], ["closed", "closed"], ["open", "open"], ["half_open", "half open"]]));
		this.panel.body.before(this.filters);
		this.element = this.panel.element;
	}

	async refresh() {
		if (Date.now() - this.#readAt > EVERY_SECONDS * 1000) {
			this.#clients = await this.app.api.all("v1/clients");
			this.#readAt = Date.now();
		}
		this.#draw();
		return LIVE;
	}

	#draw() {
		const wanted = Object.fromEntries(new FormData(this.filters));
		const text = wanted.text.toLowerCase();
		const found = this.#clients.filter((one) => (!wanted.status || one.status === wanted.status) && (!wanted.breaker || one.breaker === wanted.breaker)
			&& (!text || one.id.toLowerCase().includes(text) || tags(one).toLowerCase().includes(text)));
		const shown = found.map((one) => [one.id, one.status, one.breaker, tags(one), one.measured.reliability, one.rounds_completed, one.rounds_selected, one.failures.faulty + one.failures.unreachable, one.last_seen_at && one.last_seen_at.slice(0, 16)]);
		this.panel.show([this.#clients.length, shown], () => this.#list(found));
	}

	#list(found) {
		if (this.#clients.length === 0) return p("empty", "No client is registered yet.");
		if (found.length === 0) return p("empty", "No client fits these filters.");
		return [p("quiet", `${many(found.length, "client")} of ${count(this.#clients.length)}`), paged(found, PAGE, (shown) => table(["Client", "Health", "Breaker", "Tags", "Reliability", "Rounds", "Failures", "Seen"], shown.map((one) => row(
			clientLink(one.id), badge(one.status), breaker(one.breaker), tags(one), percent(one.measured.reliability ?? one.reliability), `${count(one.rounds_completed)} of ${count(one.rounds_selected)}`, count(one.failures.faulty + one.failures.unreachable), ago(one.last_seen_at))), "Clients"))];
	}
}

const tags = (client) => Object.entries(client.tags).map(([name, value]) => `${name}: ${value}`).join(", ");
const percent = (value) => (value === null ? "–" : `${number(value * 100, 3)} %`);

export class ClientView {
	#parts = null;
	#partsAt = 0;

	constructor(app, id) {
		this.app = app;
		this.id = id;
		this.changes = new Changes(app.api, id);
		this.title = id;
		this.panels = { state: new Panel(null), measured: new Panel("What it claims, and what was measured"), breaker: new Panel("Breaker and last failures"), figures: new Panel("What it measured, by round"), parts: new Panel("Its part in rounds") };
		this.element = h("div", {}, Object.values(this.panels).map((one) => one.element));
	}

	async refresh() {
		const { api } = this.app;
		const [client, guard, changes] = await Promise.all([api.get(pathOf("clients", this.id)), api.get(pathOf("clients", this.id, "breaker")), this.changes.read()]);
		this.panels.state.show([{ ...client, measured: null }, guard.state], () => this.#state(client, guard));
		this.panels.measured.show([client.measured, client.data_size, client.bandwidth, client.latency, client.reliability], () => measured(client));
		this.panels.breaker.show([guard, changes.at(-1)?.id], () => [failures(guard), breakerHistory(changes)]);
		if (Date.now() - this.#partsAt > EVERY_SECONDS * 1000) [this.#parts, this.#partsAt] = [await this.#participations(), Date.now()];
		this.panels.figures.show([this.#parts, this.app.width(2)], ([parts, width]) => figureCharts(parts, width));
		this.panels.parts.show(this.#parts, participations);
		return LIVE;
	}

	// Look for the client in the newest rounds of the newest trainings.
	async #participations() {
		const { api } = this.app;
		const trainings = await api.get("v1/trainings", { limit: TRAININGS });
		const lists = await Promise.all(trainings.items.map(async (training) => {
			const rounds = await api.get(pathOf("trainings", training.id, "rounds"), { limit: ROUNDS });
			return rounds.items.flatMap((round) => {
				const part = round.participations.find((one) => one.client_id === this.id);
				return part ? [{ ...part, training: training.name, training_id: training.id, round: round.number, at: round.started_at }] : [];
			});
		}));
		return lists.flat().sort((one, other) => other.at.localeCompare(one.at));
	}

	#state(client, guard) {
		const { app } = this;
		const set = (verb, label, question) => h("button", { class: verb === "open" ? "danger" : null, onclick: () => app.act(label, () => app.api.post(pathOf("clients", this.id, "breaker", verb)), question) }, `${label}…`);
		const isolated = guard.state === "open" && guard.retry_at === null;
		const troubled = guard.state !== "closed" || guard.last_failures.length > 0;
		return [h("div", { class: "title" }, h("h1", {}, client.id), badge(client.status), breaker(guard.state), app.may("operator") && h("div", { class: "actions" },
			!isolated && set("open", "Isolate it", "No round selects it until its breaker is reset. If it works on a task now, the task goes on."),
			troubled && set("reset", "Reset its breaker", "Its failures are forgotten, and it may take part in the next round."))),
			client.conflict && p("warning", `Several agents use this id: ${client.conflict.urls.join(", ")}. Stop one of them, or give it an id of its own.`),
			client.unproven && p("warning", `It gets no tasks: ${client.unproven}`),
			facts([["Address", client.url ?? "none: it asks for its tasks"], ["Last seen", ago(client.last_seen_at)], ["Tags", tags(client) || "none"], ["Selected in", many(client.rounds_selected, "round")], ["Completed", many(client.rounds_completed, "round")], ["Registered", at(client.created_at)],
				client.enrolled_at && ["Its device enrolled", at(client.enrolled_at)], ["Failures", `${count(client.failures.faulty)} of its trainer, ${count(client.failures.unreachable)} unreachable`]])];
	}
}

function measured(client) {
	const { measured: seen } = client;
	const rows = [["Reliability", percent(client.reliability), percent(seen.reliability), doubt(seen.reliability, client.reliability)], ["Bandwidth", `${number(client.bandwidth, 3)} Mbps`, seen.bandwidth === null ? "–" : `${number(seen.bandwidth, 3)} Mbps`, doubt(seen.bandwidth, client.bandwidth)],
		["Latency", `${number(client.latency, 3)} ms`, seen.latency === null ? "–" : `${number(seen.latency, 3)} ms`, seen.latency !== null && seen.latency > 2 * client.latency ? "much slower than claimed" : ""],
		["Training", "–", seconds(seen.train_seconds), ""], ["Samples", count(client.data_size), "–", ""]];
	return table(["Value", "Claimed", "Measured", "Remark"], rows.map(([name, ...cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)))), "Claimed and measured values");
}

const doubt = (seen, claimed) => (seen !== null && seen < 0.7 * claimed ? "much less than claimed" : "");

function failures(guard) {
	const list = [...guard.last_failures].reverse();
	return [h("p", {}, breaker(guard.state), guard.cause && ` It opened after ${guard.cause}.`, guard.state === "open" && (guard.retry_at ? [" It lets a probe through ", ago(guard.retry_at), "."] : " It was opened by hand, and stays open until it is reset.")),
		list.length === 0 ? p("quiet", "No failure is on record.") : table(["When", "What failed", "Reason", "Where"], list.map((one) => row(ago(one.at), `${one.phase === "fit" ? "training" : one.phase}, ${one.kind === "faulty" ? "a fault of its trainer" : "not reachable"}`, one.reason,
			one.training_id && one.round ? trainingLink(one.training_id, `round ${one.round}`, one.round) : "")), "Last failures, the newest first")];
}

function participations(parts) {
	if (parts.length === 0) return p("quiet", `It took part in none of the last ${ROUNDS} rounds of the newest trainings.`);
	return paged(parts, 20, (shown) => table(["Training", "Round", "State", "Time", "Loss", "Accuracy", "Reason"], shown.map((one) => row(
		trainingLink(one.training_id, one.training), trainingLink(one.training_id, String(one.round), one.round), badge(one.status), seconds(one.seconds), number(one.loss), percent(one.accuracy), one.reason ?? "")), "Rounds, the newest first"));
}
