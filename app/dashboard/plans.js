// Plans of a round, which change nothing: whom it could select, and whom it would.

import { h } from "./dom.js";
import { many, seconds } from "./units.js";

const ready = (client) => client.status === "healthy" && client.breaker === "closed" && !client.unproven;

function fits(client, { tags = {}, clients = [], exclude = [], min_data_size: size = 0, min_reliability: reliability = 0 }) {
	return Object.entries(tags).every(([name, value]) => client.tags[name] === value) && (clients.length === 0 || clients.includes(client.id)) && !exclude.includes(client.id)
		&& client.data_size >= size && (client.measured.reliability ?? client.reliability) >= reliability;
}

// The body of POST /v1/selections for the rules of a training. The clients that it may not take are excluded.
export function planned({ selection, seed, topology, where }, clients, size) {
	const exclude = clients.filter((one) => !fits(one, where ?? {})).map((one) => one.id);
	return { ...selection, seed, topology, exclude, model_bytes: size };
}

// Say how many clients a training could select now.
export function choice(clients, where) {
	const fitting = clients.filter((one) => fits(one, where ?? {}));
	const available = fitting.filter(ready).length;
	return h("p", {}, h("strong", {}, `${many(available, "client")} could be selected now`), ` of ${many(clients.length, "registered one")}`,
		fitting.length < clients.length && `; ${many(clients.length - fitting.length, "client")} may not take part`, fitting.length > available && `; ${many(fitting.length - available, "client")} cannot train now`, ".");
}

export const costs = (plan) => `${many(plan.selected.length, "client")}, ${seconds(plan.total_cost)} of link time, ${seconds(plan.expected_seconds)} until the slowest has sent its update`;
