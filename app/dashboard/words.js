// The words, symbols and colours of states. Each state has a word and a symbol, so that no colour is needed to read it.

import { h } from "./dom.js";

// After how many seconds a view asks again: while something runs, and else.
export const LIVE = 3, QUIET = 10;

const STATES = {
	created: ["○", "new"], running: ["▶", "active"], paused: ["‖", "wait"], completed: ["✓", "good"], failed: ["✕", "bad"],
	cancelled: ["–", "off"], selecting: ["…", "active"], training: ["▶", "active"], aggregating: ["▶", "active"],
	evaluating: ["▶", "active"], abandoned: ["✕", "bad"], received: ["✓", "good"], rejected: ["✕", "worse"],
	skipped: ["–", "wait"], carried: ["→", "wait"], pending: ["…", "active"], healthy: ["✓", "good"], suspect: ["?", "wait"], down: ["✕", "bad"],
	closed: ["✓", "good"], open: ["✕", "bad"], half_open: ["?", "wait"],
};
const NAMES = { half_open: "on probation", training: "training" };
const BREAKERS = { closed: "closed", open: "open", half_open: "half open" };

export const kind = (state) => STATES[state]?.[1] ?? "off";

export function badge(state, name = NAMES[state] ?? state) {
	const [symbol, colour] = STATES[state] ?? ["·", "off"];
	return h("span", { class: `badge ${colour}` }, h("span", { "aria-hidden": "true" }, symbol), ` ${name}`);
}

export const breaker = (state) => badge(state, BREAKERS[state]);
export const trainingLink = (id, name, round) => h("a", { href: `#/trainings/${id}${round ? `?round=${round}` : ""}` }, name);
export const clientLink = (id) => h("a", { href: `#/clients/${id}` }, id);
