// The model versions of a training: their list, and what can be done with one of them.

import { newKey, pathOf } from "./api.js";

const MOST = 1000;
const LONGEST_NAME = 256; // characters of a training's name

export class Versions {
	#kept = null;
	#changes = 0; // by this page
	#forks = new Map(); // the keys of forks that had no answer yet, by their bodies

	constructor(api, id) {
		this.api = api;
		this.id = id;
		this.path = pathOf("trainings", id, "models");
	}

	// Return the list. It is read again when a round has ended or this page has changed a version.
	async read({ current_round: round, model }) {
		if (this.#kept?.round === round && this.#kept.model === model) return this.#kept.items;
		const before = this.#changes;
		const items = await this.api.all(this.path, {}, MOST);
		if (before === this.#changes) this.#kept = { round, model, items }; // otherwise it may be from before the change
		return items;
	}

	// Pin a version, or unpin one that is pinned. If the answer is lost, only the list tells whether it was done.
	async pin(version) {
		try {
			await this.api[version.pinned ? "remove" : "put"](pathOf("trainings", this.id, "models", version.round, "pin"));
		} finally {
			this.#changes += 1;
			this.#kept = null;
		}
	}

	// Make a training that begins with a version. If an answer is lost, the next try finds the training that was made.
	async fork(training, version) {
		const suffix = `, from round ${version.round}`;
		const name = [...training.name].slice(0, LONGEST_NAME - suffix.length).join("") + suffix;
		const body = { from: { training: this.id, round: version.round }, name };
		const text = JSON.stringify(body);
		if (!this.#forks.has(text)) this.#forks.set(text, newKey());
		const made = await this.api.post("v1/trainings", body, { "Idempotency-Key": this.#forks.get(text) });
		this.#forks.delete(text);
		return made;
	}

	async file(version) { return this.api.file(pathOf("trainings", this.id, "model"), { round: version.round }); }
}
