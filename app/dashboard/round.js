// One round: its figures, the timeline of its clients, their evaluations, and the selection.

import { bar } from "./charts.js";
import { facts, h, p, paged, row, table } from "./dom.js";
import { bytes, count, many, metric, number, seconds } from "./units.js";
import { badge, clientLink, kind } from "./words.js";

const ORDER = ["failed", "rejected", "skipped", "carried", "training", "pending", "received"];
const PAGE = 50;
const TERMS = {
	data_quality: "labels and amount of its data", balance: "how it balances the labels of the set", communication: "link time that it adds", time: "time that it adds to the round", debt: "how long it was left out",
};

export function roundFacts(round, training) {
	const { metric: name } = training.goal;
	const spent = round.ended_at ? (Date.parse(round.ended_at) - Date.parse(round.started_at)) / 1000 : null;
	return [round.failure_reason && p("warning", h("strong", {}, "It was abandoned: "), round.failure_reason),
		round.waiting_since && p("warning", "It waits for clients. Waiting moves its deadline."),
		round.target_doubt && p("warning", `It does not count as the target, because it depends on ${round.target_doubt.client_id}: without its measurement, ${name} would be ${metric(name, round.target_doubt.mean)}.`),
		facts([[name, metric(name, round.goal_value)], ["Loss", number(round.average_loss)], ["Duration", spent === null ? "goes on" : seconds(spent)], ["Deadline", seconds(round.deadline_seconds)],
			["Planned link time", seconds(round.communication_cost)], ["Bytes", bytes(round.communication_bytes)], round.fairness !== null && ["Fairness", number(round.fairness, 3)], round.waited_seconds > 0 && ["Waited", seconds(round.waited_seconds)]])];
}

// One bar for each client, from the hand-over of its task to its result. Problems stand first.
export function timeline(round, training) {
	const parts = round.participations.map((one) => ({ ...one, seconds: one.seconds ?? (one.status === "training" && !round.ended_at ? (Date.now() - Date.parse(round.started_at)) / 1000 : null) }));
	if (parts.length === 0) return p("quiet", "No client has been selected yet.");
	parts.sort((one, other) => ORDER.indexOf(one.status) - ORDER.indexOf(other.status) || (other.seconds ?? 0) - (one.seconds ?? 0));
	const longest = Math.max(...parts.map((one) => one.seconds ?? 0), 0.001);
	const counts = ORDER.map((status) => [status, parts.filter((one) => one.status === status).length]).filter(([, found]) => found > 0);
	return [h("h3", {}, "Clients, from the hand-over of the task to the result"), p("legend", counts.map(([status, found]) => [badge(status, `${count(found)} ${meaning(status)}`), " "])),
		paged(parts, PAGE, (shown) => h("ol", { class: "timeline" }, shown.map((one) => h("li", {},
			h("div", { class: "who" }, clientLink(one.client_id)),
			bar({ seconds: one.seconds, longest, limit: round.deadline_seconds, colour: kind(one.status), label: `${one.client_id}: ${one.status} after ${seconds(one.seconds)}` }),
			h("div", { class: "time" }, seconds(one.seconds)), h("div", { class: "state" }, badge(one.status)),
			h("div", { class: "why" }, one.reason ?? measured(one, training), one.attempts > 1 && ` (${one.attempts} attempts)`))))),
		p("quiet", `The scale ends at ${seconds(longest)}.`)];
}

function meaning(status) {
	return { received: "received", failed: "failed: no update came", rejected: "rejected: the update cannot be used", skipped: "late or not needed", carried: "at work, counts later", training: "training", pending: "pending" }[status];
}

function measured(part, training) {
	if (part.status !== "received") return "";
	const { metric: name } = training.goal;
	const value = part.metrics[name] ?? (name === "loss" ? part.loss : null);
	return [many(part.num_examples ?? 0, "example"), value !== null && `${name} ${metric(name, value)} on its own data`, part.relay ? `relayed by ${part.relay}` : `${bytes(part.bytes_received)} received`].filter(Boolean).join(", ");
}

export function evaluations(round) {
	const { evaluations: all } = round;
	if (all.length === 0) return null;
	const wrong = all.filter((one) => !["received", "training", "pending"].includes(one.status));
	const measured_ = all.filter((one) => one.status === "received").length;
	return [h("h3", {}, "Evaluation of the new model"), h("p", {}, `${count(measured_)} of ${many(all.length, "client")} measured it.`),
		wrong.length > 0 && paged(wrong, PAGE, (shown) => table(["Client", "State", "Reason"], shown.map((one) => row(clientLink(one.client_id), badge(one.status), one.reason ?? "")), "Clients that did not measure the model"))];
}

// Why each client was selected, and why the others were not.
export function selection(found, round) {
	if (!found) return p("quiet", round?.ended_at ? "The round ended before it was planned." : "The round is not planned yet.");
	const groups = new Map();
	for (const one of found.skipped) {
		const family = one.reason.split(":")[0].replace(/\d+(\.\d+)?/g, "…");
		groups.set(family, [...(groups.get(family) ?? []), one]);
	}
	const sorted = [...groups.entries()].sort(([, one], [, other]) => other.length - one.length);
	const names = [...new Set(found.selected.flatMap((one) => Object.keys(one.components)))];
	return [facts([["Strategy", found.strategy], ["Selected", many(found.selected.length, "client")], ["Expected duration", seconds(found.expected_seconds)],
		found.label_divergence !== null && ["Label divergence", `${number(found.label_divergence)} nats`]]),
		h("details", { "data-keep": "selected" }, h("summary", {}, `Selected: ${many(found.selected.length, "client")}, with the terms of their scores`),
			paged(found.selected, PAGE, (shown) => table(["Client", "Score", "Link time", ...names], shown.map((one) => row(clientLink(one.client_id), number(one.score), seconds(one.marginal_cost), ...names.map((name) => number(one.components[name], 3)))), "Selected clients")),
			p("quiet", names.filter((name) => name in TERMS).map((name) => `${name}: ${TERMS[name]}`).join("; "), ".")),
		sorted.map(([family, members]) => h("details", { "data-keep": family }, h("summary", {}, `${many(members.length, "client")} not selected: ${family}`),
			paged(members, PAGE, (shown) => table(["Client", "Reason"], shown.map((one) => row(clientLink(one.client_id), one.reason)), "Clients that were not selected"))))];
}
