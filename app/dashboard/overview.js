// The overview: what needs attention, the trainings, and the health of the fleet.

import { pathOf } from "./api.js";
import { attention, LEVELS } from "./attention.js";
import { sparkline } from "./charts.js";
import { h, p, paged, Panel, row, table } from "./dom.js";
import { ago, count, many, metric } from "./units.js";
import { badge, clientLink, LIVE, QUIET, trainingLink } from "./words.js";

const TRAININGS = 50, POINTS = 60, WATCHED = 8, ROUNDS = 2, AGAIN_SECONDS = 15, MOST_AT_ONCE = 50;

export class Overview {
	title = "Overview";
	#curves = new Map();
	#rounds = new Map();
	#clients = null;
	#fleetRead = 0;

	constructor(app) {
		this.app = app;
		this.panels = { attention: new Panel("Needs attention now"), trainings: new Panel("Trainings"), fleet: new Panel("Fleet") };
		this.element = h("div", { class: "overview" }, Object.values(this.panels).map((one) => one.element));
	}

	async refresh() {
		const { api } = this.app;
		const now = Date.now();
		const due = this.#clients === null || now - this.#fleetRead > AGAIN_SECONDS * 1000;
		const [trainings, clients] = await Promise.all([api.get("v1/trainings", { limit: TRAININGS }), due ? api.all("v1/clients") : this.#clients]);
		if (due) [this.#clients, this.#fleetRead] = [clients, now];
		await Promise.all(trainings.items.map((training) => this.#follow(training)));
		const watched = trainings.items.map((training) => ({ training, rounds: this.#rounds.get(training.id) ?? [] }));
		this.panels.attention.show(attention(watched, clients), (items) => this.#attention(items));
		this.panels.trainings.show(trainings.items.map((one) => [one, this.#curves.get(one.id)?.points]), (pairs) => this.#trainings(pairs, trainings.next_cursor));
		this.panels.fleet.show(summary(clients), fleet);
		return trainings.items.some((one) => one.status === "running") ? LIVE : QUIET;
	}

	// Read the curve of a training, and new rounds of one that runs.
	async #follow(training) {
		const { api } = this.app;
		const known = this.#curves.get(training.id);
		const at = `${training.updated_at} ${training.current_round}`;
		const fresh = training.status !== "running" || Date.now() - known?.read < AGAIN_SECONDS * 1000;
		if (fresh && known?.at === at) return;
		const running = training.status === "running" && [...this.#rounds.keys()].filter((id) => id !== training.id).length < WATCHED;
		const [models, rounds] = await Promise.all([
			api.get(pathOf("trainings", training.id, "models"), { limit: POINTS }),
			running ? api.get(pathOf("trainings", training.id, "rounds"), { limit: ROUNDS }) : { items: [] }]);
		if (running) this.#rounds.set(training.id, rounds.items);
		else this.#rounds.delete(training.id);
		const points = models.items.filter((one) => one.round > 0).map((one) => [one.round, one.goal_value]).reverse();
		this.#curves.set(training.id, { at, read: Date.now(), points });
	}

	#attention(items) {
		if (items.length === 0) return p("fine", h("span", { "aria-hidden": "true" }, "✓ "), "All is well: no training waits, and no client fails.");
		return paged(items, 10, (shown) => h("ol", { class: "attention" }, shown.map((item) => h("li", { class: `level${item.level}` },
			h("div", { class: "what" }, h("span", { class: "level" }, LEVELS[item.level]), h("strong", {}, item.title), item.since && h("span", { class: "quiet" }, ago(item.since))),
			h("p", {}, item.reason), item.shared && h("p", {}, h("strong", {}, item.shared)), p("todo", item.todo),
			h("div", { class: "actions" }, this.#actions(item))))));
	}

	#actions(item) {
		const { app } = this;
		const ids = item.clients ?? [];
		const found = [item.training && h("a", { class: "button", href: `#/trainings/${item.training}` }, "Open the training")];
		if (ids.length === 1) found.push(h("a", { class: "button", href: `#/clients/${ids[0]}` }, "Open the client"));
		if (ids.length > 1) found.push(h("details", { "data-keep": item.key }, h("summary", {}, `Show ${ids.length} clients`), p("ids", ids.slice(0, 100).map((id) => [clientLink(id), " "]), ids.length > 100 && `and ${count(ids.length - 100)} more`)));
		if (!app.may("operator")) return found;
		if (item.action === "resume") found.push(h("button", { "aria-label": `Resume ${item.name}`, onclick: () => app.act(`Resume ${item.name}`, () => app.api.post(pathOf("trainings", item.training, "resume"))) }, "Resume"));
		const verbs = { reset: [`Reset ${many(ids.length, "breaker")}`, "reset", "The failures are forgotten, and rounds may select again"], isolate: [`Isolate ${many(ids.length, "client")}`, "open", "Until the breaker is reset, no round selects"] };
		if (item.action in verbs && ids.length <= MOST_AT_ONCE) {
			const [label, verb, effect] = verbs[item.action];
			found.push(h("button", { "data-keep": `${verb} ${item.key}`, onclick: () => app.act(label, async () => {
				for (const id of ids) await app.api.post(pathOf("clients", id, "breaker", verb));
				this.#fleetRead = 0;
			}, `${effect}: ${ids.join(", ")}.`) }, label));
		}
		return found;
	}

	#trainings(pairs, more) {
		if (pairs.length === 0) return p("empty", "No training exists yet. ", h("a", { href: "#/start" }, "Start one here"), ", with `tcsfeel train`, or over ", h("a", { href: "docs" }, "the API"), ".");
		return [paged(pairs, 15, (shown) => table(["Training", "State", "Round", "Metric", "Towards the target", "Changed"], shown.map(([training, points]) => row(
			trainingLink(training.id, training.name), [badge(training.status), progress(training)],
			`${count(training.current_round)} of ${count(training.max_rounds)}`, goal(training),
			sparkline({ points: points ?? [], target: training.goal.target, label: `${training.goal.metric} of ${training.name}: ${goal(training)}` }), ago(training.updated_at))), "Trainings, the newest first")),
		more && p("quiet", `These are the newest ${TRAININGS}.`)];
	}
}

function progress(training) {
	if (training.progress && training.progress.state !== "moving") return h("div", { class: "note" }, training.progress.state);
	return training.status === "running" || !training.stop_reason ? null : h("div", { class: "quiet" }, training.stop_reason.replaceAll("_", " "));
}

export function goal(training) {
	const { metric: name, target, mode } = training.goal;
	const value = `${name} ${metric(name, training.goal_value)}`;
	return target === null ? value : `${value}; target ${mode === "max" ? "≥" : "≤"} ${metric(name, target)}`;
}

function summary(clients) {
	const found = { total: clients.length, healthy: 0, suspect: 0, down: 0, open: 0, half_open: 0 };
	for (const client of clients) {
		found[client.status] += 1;
		if (client.breaker !== "closed") found[client.breaker] += 1;
	}
	return found;
}

function fleet(found) {
	if (found.total === 0) return p("empty", "No client is registered yet. Start an agent with `tcsfeel agent`, or invite devices.");
	const tile = (state, by, name) => h("li", {}, h("a", { href: `#/clients?${by}=${state}` }, h("strong", {}, count(found[state])), badge(state, name)));
	return [h("ul", { class: "tiles" }, tile("healthy", "status"), tile("suspect", "status"), tile("down", "status"), tile("open", "breaker", "breakers open"), tile("half_open", "breaker", "breakers half open")),
		h("p", {}, h("a", { href: "#/clients" }, `Show all ${many(found.total, "client")}`))];
}
