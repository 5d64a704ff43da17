// The rounds of a training, as far as charts and tables show them: a long training would fill the memory otherwise.

import { pathOf } from "./api.js";

const MOST = 1000;
const ENDED = new Set(["completed", "abandoned"]);

export class Rounds {
	#found = new Map(); // by number
	older = null; // the cursor of rounds that are not read yet

	constructor(api, id) {
		this.api = api;
		this.path = pathOf("trainings", id, "rounds");
	}

	// Why sums over the known rounds would be wrong: older ones are still being read, or some are not kept. Null if all are known.
	get missing() {
		if (this.older) return "reading";
		return this.#found.size > 0 && this.#found.size < Math.max(...this.#found.keys()) ? "cut" : null;
	}

	get all() { return [...this.#found.values()].sort((one, other) => one.number - other.number); }

	// Read rounds that are new or had not ended, and some older ones. Returns the newest.
	async read() {
		const first = this.#found.size === 0;
		let page = await this.#page(20, null);
		const newest = page.items[0] ?? null;
		while (!first && !page.known && page.next_cursor) page = await this.#page(20, page.next_cursor);
		if (first) this.older = page.next_cursor;
		else if (this.older) this.older = this.#found.size < MOST ? (await this.#page(100, this.older)).next_cursor : null;
		return newest;
	}

	async #page(limit, cursor) {
		const page = await this.api.get(this.path, { limit, cursor });
		const known = page.items.some((one) => ENDED.has(this.#found.get(one.number)?.status));
		for (const one of page.items) this.#found.set(one.number, outline(one));
		return { ...page, known };
	}
}

function outline(round) {
	const end = round.ended_at ? Date.parse(round.ended_at) : null;
	return { number: round.number, status: round.status, goal_value: round.goal_value, loss: round.average_loss, cost: round.communication_cost, bytes: end === null ? null : round.communication_bytes,
		duration: end === null ? null : (end - Date.parse(round.started_at)) / 1000, reason: round.failure_reason, ended_at: round.ended_at,
		selected: round.selected_clients.length, received: round.participations.filter((one) => one.status === "received").length,
		means: Object.fromEntries(Object.entries(round.metrics).map(([name, one]) => [name, one.mean])) };
}
