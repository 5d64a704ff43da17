// Find what needs attention now: the most urgent first, each with its reason in words and the action that mends it.

import { many, metric } from "./units.js";

const CRITICAL = 0, WARNING = 1, NOTE = 2;
export const LEVELS = ["Act now", "Look at it", "For information"];
const STALE_ROUNDS = 10, CROWD = 3;
const HIDDEN = "Your key may not read the reason. An operator's key may.";

// `trainings` with their newest `rounds`, and all clients. Returns items: level, title, reason, since, and what to do.
export function attention(trainings, clients) {
  const found = [...trainings.flatMap(({ training, rounds }) => ofTraining(training, rounds)), ...ofClients(clients), ...ofRounds(trainings, clients)];
  return found.sort((one, other) => one.level - other.level || String(other.since ?? "").localeCompare(String(one.since ?? "")));
}

function ofTraining(training, rounds) {
  const item = (level, title, reason, todo, since, action) => ({ level, title: `${training.name} ${title}`, reason, todo, since, action, training: training.id, key: `${training.id} ${title}` });
  const { progress, status } = training;
  if (status === "failed") {
    return [item(CRITICAL, "has failed", training.stop_detail ?? HIDDEN, "Mend the cause, then resume it. It goes on from its last model.", training.updated_at, "resume")];
  }
  if (status === "paused") {
    return [item(NOTE, "is paused", `It stopped in round ${training.current_round} of ${training.max_rounds}.`, "Resume it when it may go on.", training.updated_at, "resume")];
  }
  if (status !== "running") return [];
  const found = [];
  if (progress?.state === "stalled") found.push(item(CRITICAL, "is stalled by a problem on the server", progress.reason ?? HIDDEN, "Mend the problem on the server. The training then goes on by itself.", progress.since));
  if (progress?.state === "waiting") found.push(item(WARNING, "waits", progress.reason ?? HIDDEN, "Bring clients back, or let more of them take part (fewer conditions, a smaller `min_clients`).", progress.since));
  const ended = rounds.find((one) => one.ended_at !== null);
  if (ended?.status === "abandoned") found.push(item(WARNING, `abandoned round ${ended.number}`, ended.failure_reason ?? HIDDEN, "Look at the round: it names each client that did not answer, and why.", ended.ended_at));
  const doubt = ended?.target_doubt;
  if (doubt) found.push(item(NOTE, "does not count its target as reached", `Without the measurement of ${doubt.client_id}, ${training.goal.metric} would be ${metric(training.goal.metric, doubt.mean)}.`, "It goes on by itself. Let more clients evaluate if this happens again.", ended.ended_at));
  const stale = training.current_round - (training.best_round ?? training.current_round);
  if (stale >= STALE_ROUNDS) found.push(item(WARNING, "makes no progress", `The best ${training.goal.metric}, ${metric(training.goal.metric, training.best_value)}, is from round ${training.best_round}; ${many(stale, "round")} since then were not better.`, "Look at the clients whose updates were rejected or failed, or pause it and change its hyperparameters.", training.updated_at));
  if (training.unmatched_patterns) {
    const names = Object.values(training.unmatched_patterns).flat();
    if (names.length > 0) found.push(item(WARNING, "has patterns that match no tensor", names.join(", "), "Check how the patterns are spelt: the tensors that they should name are trained like all others.", training.created_at));
  }
  return found;
}

function lastFailure(client) {
  const { last_unreachable: one, last_faulty: other } = client.failures;
  if (!one || !other) return one ?? other;
  return one.at > other.at ? one : other;
}

function ofClients(clients) {
  const problems = clients.map((client) => problemOf(client)).filter(Boolean);
  return grouped(problems, clients);
}

function problemOf(client) {
  const failure = lastFailure(client);
  const of = (level, what, reason, todo, since, action) => ({ client, level, what, reason, todo, since, action });
  if (client.conflict) return of(CRITICAL, "shares its id with another agent", `Agents at ${client.conflict.urls.join(" and ")} use this id.`, "Stop one of the agents, or give it an id of its own.", client.conflict.last_at);
  if (client.breaker === "open") {
    if (!failure) return of(NOTE, "is isolated by hand", "An operator has opened its breaker.", "Reset its breaker to let it take part again.", client.updated_at, "reset");
    const cause = failure.kind === "faulty" ? "Mend its trainer or its data, then reset the breaker." : "Bring its agent back. The server tries it again by itself, or reset the breaker.";
    return of(CRITICAL, "is locked out by its breaker", `Last failure: ${failure.reason ?? HIDDEN}`, cause, failure.at, "reset");
  }
  if (client.unproven) return of(WARNING, "gets no tasks, because its address is not proved", client.unproven, "Check that the agent runs with its own key, at the address that it registered.", client.updated_at);
  if (client.status === "down") return of(WARNING, "is down", "It sends no heartbeats, and its agent does not answer.", "Start its agent, or remove the client if it is gone for good.", client.last_seen_at);
  if (client.failures.wrong_evaluations >= 3) return of(WARNING, "cannot evaluate", `Its last ${client.failures.wrong_evaluations} evaluations failed. ${failure?.reason ?? ""}`, "Mend `evaluate` of its trainer, then reset its breaker.", failure?.at, "reset");
  if (client.breaker === "half_open") return of(NOTE, "is tried again after failures", failure?.reason ?? "Its breaker lets one task through.", "Nothing: the breaker closes if the task succeeds.", failure?.at);
  return null;
}

// Put clients with the same problem together, and name the tag that they share, as one cause may be behind them.
function grouped(problems, clients) {
  const groups = new Map();
  for (const one of problems) {
    const key = `${one.what}|${family(one.reason)}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  return [...groups.entries()].map(([key, members]) => {
    const [first] = members;
    const ids = members.map((one) => one.client.id);
    const newest = members.map((one) => one.since ?? "").reduce((one, other) => (one > other ? one : other));
    const what = members.length === 1 ? first.what : first.what.replace(/^is /, "are ").replace(/^gets /, "get ").replace("shares its id", "share their ids").replace("its ", "their ").replace("breaker", "breakers");
    const todo = members.length === 1 ? first.todo : plural(first.todo);
    return { key, level: members.length >= CROWD ? CRITICAL : first.level, since: newest || null, todo, action: first.action, clients: ids, reason: first.reason,
      title: `${members.length === 1 ? ids[0] : `${members.length} clients`} ${what}`, shared: shared(members.map((one) => one.client), clients) };
  });
}

const plural = (text) => text.replaceAll("its ", "their ").replace("the device", "the devices").replace("Isolate it", "Isolate them").replace("the breaker", "the breakers").replace("their agent", "their agents").replace("tries it", "tries them").replace("let it", "let them");

const family = (reason) => String(reason).replace(/[\d.]+/g, "#").slice(0, 120);

export function shared(members, everybody) {
  if (members.length < 2) return null;
  for (const [name, value] of Object.entries(members[0].tags)) {
    if (members.every((one) => one.tags[name] === value)) {
      const all = everybody.filter((one) => one.tags[name] === value).length;
      if (all < everybody.length) return `All of them have the tag ${name}: ${value}, as ${all} of ${everybody.length} clients do.`;
    }
  }
  return null;
}

// Updates of the newest rounds that were rejected or did not come, of clients that nothing above names.
function ofRounds(trainings, clients) {
  const known = new Map(clients.map((one) => [one.id, one]));
  const problems = new Map();
  for (const { training, rounds } of trainings) {
    if (training.status !== "running") continue;
    for (const round of rounds) {
      for (const part of round.participations) {
        const client = known.get(part.client_id);
        if (!client || client.breaker !== "closed" || problems.has(client.id)) continue;
        if (part.status === "rejected" || part.status === "failed") {
          problems.set(client.id, { client, level: WARNING, what: part.status === "rejected" ? `sent updates that were rejected in ${training.name}` : `failed in ${training.name}`,
            reason: part.reason ?? HIDDEN, todo: "Find out what is new on the device. Isolate it until that is mended.", since: round.ended_at ?? round.started_at, action: "isolate" });
        }
      }
    }
  }
  return grouped([...problems.values()], clients);
}
