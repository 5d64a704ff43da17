// The map of links, coloured by cost, with the tree of a round drawn on it.

import { pathOf } from "./api.js";
import { h, p, Panel, replace, svg } from "./dom.js";
import { count, many, number } from "./units.js";
import { badge, clientLink, kind, LIVE, QUIET } from "./words.js";

const MOST_CLIENTS = 400, MOST_LINKS = 3000, STEPS = 120, SIDE = 640, EVERY_SECONDS = 30, LABEL = 16;
const COSTS = ["cheapest quarter", "second quarter", "third quarter", "dearest quarter"];

export class TopologyView {
	title = "Topology";
	#map = null;
	#readAt = 0;
	#trainings = [];
	#rounds = new Map();

	constructor(app) {
		this.app = app;
		this.training = h("select", { onchange: () => { this.slider.max = 0; app.refresh(); } });
		this.slider = h("input", { type: "range", "aria-label": "Round", min: 1, max: 0, step: 1, oninput: () => app.refresh() });
		this.number = h("output", {});
		this.panel = new Panel("Links and the tree of a round");
		this.filters = h("form", { class: "filters", onsubmit: (event) => event.preventDefault() }, h("label", {}, "Training", this.training), h("label", {}, this.number, this.slider));
		this.filters.hidden = true;
		this.panel.body.before(this.filters);
		this.element = this.panel.element;
	}

	async refresh() {
		const { api } = this.app;
		if (Date.now() - this.#readAt > EVERY_SECONDS * 1000) {
			const clients = await api.all("v1/clients");
			const matrix = clients.length <= MOST_CLIENTS ? await api.get("v1/connectivity") : null;
			if (matrix && this.#map?.version !== matrix.version) this.#map = { version: matrix.version, ...layout(clients, matrix) };
			[this.clients, this.#readAt] = [clients, Date.now()];
		}
		if (this.clients.length > MOST_CLIENTS) this.panel.show(this.clients.length, (found) => p("empty", `The map is drawn for up to ${MOST_CLIENTS} clients; there are ${count(found)}.`));
		else if (this.clients.length === 0) this.panel.show(0, () => p("empty", "No client is registered yet."));
		else {
			const round = await this.#round();
			const states = this.clients.map((one) => [one.id, one.status, one.breaker]);
			this.filters.hidden = this.#trainings.length === 0;
			this.panel.show([this.#map.version, states, round?.number, round?.status, round?.plan, round?.participations.map((one) => one.status)], () => this.#draw(round));
		}
		return this.#trainings.some((one) => one.status === "running") ? LIVE : QUIET;
	}

	// Read the round of the slider, which follows the newest round at its end.
	async #round() {
		const { api } = this.app;
		this.#trainings = (await api.get("v1/trainings", { limit: 50 })).items.filter((one) => one.current_round > 0);
		const chosen = this.#trainings.find((one) => one.id === this.training.value) ?? this.#trainings[0];
		replace(this.training, this.#trainings.map((one) => h("option", { value: one.id, selected: one.id === chosen?.id }, one.name)));
		if (!chosen) return null;
		const atEnd = this.slider.max === "0" || this.slider.value === this.slider.max;
		this.slider.max = chosen.current_round;
		if (atEnd) this.slider.value = chosen.current_round;
		this.number.textContent = `Round ${this.slider.value} of ${chosen.current_round}`;
		const key = `${chosen.id} ${this.slider.value}`;
		if (!this.#rounds.has(key)) {
			const round = await api.get(pathOf("trainings", chosen.id, "rounds", this.slider.value)).catch((error) => { if (error.status === 404) return null; throw error; });
			if (!round?.ended_at) return round;
			this.#rounds.set(key, round);
		}
		return this.#rounds.get(key);
	}

	#draw(round) {
		const { places, links } = this.#map;
		const parts = new Map((round?.participations ?? []).map((one) => [one.client_id, one]));
		const at = (id) => (id === null ? [SIDE / 2, SIDE / 2] : places.get(id));
		const line = (name, from, to, title) => from && to && svg("line", { class: name, x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, svg("title", {}, title));
		const tree = Object.entries(round?.plan?.parents ?? {}).map(([id, parent]) => line("tree", at(id), at(parent), `${id} sends to ${parent ?? "the server"}`));
		const nodes = this.clients.filter((one) => places.has(one.id)).map((client) => {
			const part = parts.get(client.id);
			const state = part?.status ?? (client.breaker === "closed" ? client.status : client.breaker);
			const [x, y] = at(client.id);
			return svg("a", { href: `#/clients/${client.id}`, "aria-label": `${client.id}: ${state}` }, svg("circle", { class: `fill ${kind(state)}${part ? " chosen" : ""}`, cx: x, cy: y, r: part ? 8 : 4 }), svg("title", {}, `${client.id}: ${state}${part?.reason ? `: ${part.reason}` : ""}`),
				part && svg("text", x > SIDE * 0.6 ? { x: x - 10, y: y + 4, "text-anchor": "end" } : { x: x + 10, y: y + 4 }, client.id.length > LABEL ? `${client.id.slice(0, LABEL)}…` : client.id));
		});
		const used = [...new Set([...parts.values()].map((one) => one.status))];
		return [p("legend", COSTS.map((name, index) => h("span", { class: `cost${index}` }, `━ ${name}`)), used.map((status) => badge(status))),
			svg("svg", { class: "map", viewBox: `0 0 ${SIDE} ${SIDE}`, role: "group", "aria-label": "Map of the links between clients" },
				links.map(([one, other, cost, quarter]) => line(`link cost${quarter}`, places.get(one), places.get(other), `${one} – ${other}: ${number(cost)} s/MB`)), tree, nodes,
				svg("rect", { class: "server", x: SIDE / 2 - 9, y: SIDE / 2 - 9, width: 18, height: 18 }), svg("text", { x: SIDE / 2 + 13, y: SIDE / 2 + 4 }, "server")),
			round && h("p", {}, `Round ${round.number} has ${many(parts.size, "client")}: `, [...parts.keys()].slice(0, 100).map((id) => [clientLink(id), " "]))];
	}
}

// Place clients so that cheap links are short. The same matrix always gives the same map.
function layout(clients, matrix) {
	const ids = clients.map((one) => one.id);
	const index = new Map(matrix.client_ids.map((id, position) => [id, position]));
	const links = ids.flatMap((one, i) => ids.slice(i + 1).map((other) => [one, other, matrix.costs[index.get(one)]?.[index.get(other)]])).filter(([, , cost]) => typeof cost === "number");
	links.sort((one, other) => one[2] - other[2]);
	links.forEach((link, rank) => link.push(Math.floor((rank / links.length) * 4)));
	const points = ids.map((_, i) => [Math.cos(i * 2.4), Math.sin(i * 2.4)].map((one) => one * Math.sqrt((i + 1) / ids.length)));
	const number = new Map(ids.map((id, i) => [id, i]));
	const gap = 1.4 / Math.sqrt(ids.length);
	for (let step = 0; step < STEPS; step += 1) {
		const moves = points.map(([x, y]) => [-x, -y]);
		const pull = (i, j, force) => [0, 1].forEach((axis) => {
			const far = Math.hypot(points[j][0] - points[i][0], points[j][1] - points[i][1]) || 1e-6;
			const by = (force(far) * (points[j][axis] - points[i][axis])) / far;
			moves[i][axis] += by;
			moves[j][axis] -= by;
		});
		for (let i = 0; i < ids.length; i += 1) for (let j = i + 1; j < ids.length; j += 1) pull(i, j, (far) => -(gap * gap) / far);
		for (const [one, other, , quarter] of links) pull(number.get(one), number.get(other), (far) => (far * far * (4 - quarter)) / (links.length * gap));
		points.forEach((point, i) => {
			const slow = Math.min(1, (0.15 * (1 - step / STEPS)) / (Math.hypot(...moves[i]) || 1));
			point.forEach((_, axis) => { point[axis] += moves[i][axis] * slow; });
		});
	}
	const most = Math.max(...points.flat().map(Math.abs), 1e-6);
	const place = (value) => SIDE / 2 + (value / most) * (SIDE / 2 - 50);
	return { places: new Map(ids.map((id, i) => [id, points[i].map(place)])), links: links.slice(0, MOST_LINKS) };
}
