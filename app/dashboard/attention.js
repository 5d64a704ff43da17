// Find what needs attention now: the most urgent first, each with its reason and the action that mends it.

import { many, metric } from "./units.js";

const CRITICAL = 0, WARNING = 1, NOTE = 2;
export const LEVELS = ["Act now", "Look at it", "For information"];
const STALE_ROUNDS = 10, CROWD = 3, LATELY_SECONDS = 900, UNRELIABLE = 0.75;

// `trainings` with their newest `rounds`, and all clients. Returns items: level, title, reason, since, and what to do.
export function attention(trainings, clients) {
	const found = [...trainings.flatMap(({ training, rounds }) => ofTraining(training, rounds)), ...grouped(clients.map(ofClient).filter(Boolean), clients)];
	return found.sort((one, other) => one.level - other.level || String(other.since ?? "").localeCompare(String(one.since ?? "")));
}

function ofTraining(training, rounds) {
	const item = (level, title, reason, todo, since, action) => ({ level, title: `${training.name} ${title}`, reason: reason ?? "", todo, since, action, training: training.id, name: training.name });
	const { progress, status } = training;
	if (status === "failed") return [item(CRITICAL, "has failed", training.stop_detail, "Mend the cause, then resume it.", training.updated_at, "resume")];
	if (status === "paused") return [item(NOTE, "is paused", `It stopped in round ${training.current_round} of ${training.max_rounds}.`, "Resume it when it may go on.", training.updated_at, "resume")];
	if (status !== "running") return [];
	const found = [];
	if (progress?.state === "stalled") found.push(item(CRITICAL, "is stalled by a problem on the server", progress.reason, "Mend the problem. The training then goes on by itself.", progress.since));
	if (progress?.state === "waiting") found.push(item(WARNING, "waits", progress.reason, "Bring clients back, or let more of them take part.", progress.since));
	const ended = rounds.find((one) => one.ended_at !== null);
	if (ended?.status === "abandoned") found.push(item(WARNING, `abandoned round ${ended.number}`, ended.failure_reason, "Look at the round: it names those that did not answer, and why.", ended.ended_at));
	const doubt = ended?.target_doubt;
	if (doubt) found.push(item(NOTE, "does not count its target as reached", `Without the measurement of ${doubt.client_id}, ${training.goal.metric} would be ${metric(training.goal.metric, doubt.mean)}.`, "Let more clients evaluate if this happens again.", ended.ended_at));
	const stale = training.current_round - (training.best_round ?? training.current_round);
	if (stale >= STALE_ROUNDS) found.push(item(WARNING, "makes no progress", `The best ${training.goal.metric}, ${metric(training.goal.metric, training.best_value)}, is from round ${training.best_round}; ${many(stale, "round")} since then were not better.`, "Look at the clients that fail, or pause it and change its hyperparameters.", training.updated_at));
	const unmatched = Object.values(training.unmatched_patterns ?? {}).flat();
	if (unmatched.length > 0) found.push(item(WARNING, "has patterns that match no tensor", unmatched.join(", "), "Check how they are spelt: the tensors are trained like all others.", training.created_at));
	return found;
}

function lastFailure(client) {
	const { last_unreachable: one, last_faulty: other } = client.failures;
	return one && other ? (one.at > other.at ? one : other) : one ?? other;
}

function ofClient(client) {
	const failure = lastFailure(client);
	const of = (level, what, reason, todo, since, action) => ({ client, level, what, reason: reason ?? "", todo, since, action });
	if (client.conflict) return of(CRITICAL, "another agent uses the same id", `Its agents are at ${client.conflict.urls.join(" and ")}.`, "Stop one of the agents, or give it an id of its own.", client.conflict.last_at);
	if (client.breaker === "open") {
		if (!failure) return of(NOTE, "isolated by hand", "An operator has opened the breaker.", "Reset the breaker when it may take part again.", client.updated_at, "reset");
		const todo = failure.kind === "faulty" ? "Mend the trainer or its data, then reset the breaker." : "Bring the agent back. The server tries it again by itself, or reset the breaker.";
		return of(CRITICAL, "locked out by the breaker", failure.reason && `Last failure: ${failure.reason}`, todo, failure.at, "reset");
	}
	if (client.unproven) return of(WARNING, "no tasks, because the address is not proved", client.unproven, "Check that its agent runs at that address, with its own key.", client.updated_at);
	if (client.status === "down") return of(WARNING, "down", "No heartbeat comes, and the agent does not answer.", "Start the agent, or remove the client.", client.last_seen_at);
	if (client.failures.wrong_evaluations >= 3) return of(WARNING, "evaluations fail", failure?.reason, "Mend `evaluate` of the trainer, then reset the breaker.", failure?.at, "reset");
	if (client.breaker === "half_open") return of(NOTE, "tried again after failures", failure?.reason, "The breaker closes if the task succeeds.", failure?.at);
	const lately = failure && Date.now() - Date.parse(failure.at) < LATELY_SECONDS * 1000;
	return lately ? of(client.measured.reliability < UNRELIABLE ? WARNING : NOTE, "failed lately", failure.reason, "Find out what is new on the device. Isolate it until that is mended.", failure.at, "isolate") : null;
}

// Put clients with the same problem together, and name the tag that they share, as one cause may be behind them.
function grouped(problems, clients) {
	const groups = new Map();
	for (const one of problems) {
		const key = `${one.what}|${one.reason.replace(/[\d.]+/g, "#").slice(0, 120)}`;
		if (!groups.has(key)) groups.set(key, []);
		groups.get(key).push(one);
	}
	return [...groups.entries()].map(([key, members]) => {
		const [first] = members;
		const ids = members.map((one) => one.client.id);
		const since = members.map((one) => one.since ?? "").sort().at(-1) || null;
		const level = Math.min(...members.map((one) => one.level));
		return { key, clients: ids, level: ids.length >= CROWD && level === WARNING ? CRITICAL : level, since, todo: first.todo, action: first.action, reason: first.reason,
			title: `${ids.length === 1 ? ids[0] : many(ids.length, "client")}: ${first.what}`, shared: shared(members.map((one) => one.client), clients) };
	});
}

function shared(members, everybody) {
	if (members.length < 2) return null;
	for (const [name, value] of Object.entries(members[0].tags)) {
		const all = everybody.filter((one) => one.tags[name] === value).length;
		if (all < everybody.length && members.every((one) => one.tags[name] === value)) return `All of them have the tag ${name}: ${value}, as ${all} of ${everybody.length} clients do.`;
	}
	return null;
}
