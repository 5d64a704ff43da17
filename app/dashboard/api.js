// Call the REST API. Scripts cannot read the cookie of the session; whether there is one is noted beside it.

const ROOT = new URL("..", import.meta.url);
export const SERVER = ROOT.href.replace(/\/$/, "");
const KEPT = "tcsfeel-session";

export class Refused extends Error {
	constructor(status, problem) {
		super(problem?.detail ?? problem?.title ?? `The server answered with the status ${status}.`);
		this.status = status;
		this.errors = problem?.errors ?? [];
	}
}

export class Unreachable extends Error {}

export class Api {
	get hasSession() { return localStorage.getItem(KEPT) !== null; }

	async logIn(key) {
		await this.#send("POST", "v1/session", { key });
		localStorage.setItem(KEPT, "yes");
	}

	forget() { localStorage.removeItem(KEPT); }

	async logOut() {
		this.forget();
		await this.#send("DELETE", "v1/session");
	}

	async #send(method, path, { query, body, signal, key, headers: own } = {}) {
		const url = new URL(path, ROOT);
		for (const [name, value] of Object.entries(query ?? {})) {
			for (const one of [value].flat()) if (one !== null && one !== undefined) url.searchParams.append(name, one);
		}
		const headers = key === undefined ? { ...own } : { Authorization: `Bearer ${key}` };
		if (body !== undefined) headers["Content-Type"] = "application/json";
		let answer;
		try {
			answer = await fetch(url, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin", cache: "no-store" });
		} catch (error) {
			throw new Unreachable("The server does not answer.", { cause: error });
		}
		if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => null));
		return answer;
	}

	async get(path, query) { return (await this.#send("GET", path, { query })).json(); }

	async post(path, body, headers) { return (await this.#send("POST", path, { body, headers })).json(); }

	async put(path) { await this.#send("PUT", path); }

	async remove(path) { await this.#send("DELETE", path); }

	async file(path, query) { return (await this.#send("GET", path, { query })).blob(); }

	// Call `ring` for each part of the stream of events, until it ends.
	async listen(ring, signal) {
		const parts = (await this.#send("GET", "v1/events/stream", { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
		for (let part = await parts.read(); !part.done; part = await parts.read()) ring(/^id:/m.test(part.value));
	}

	async caller() { return this.get("v1/caller"); }

	// Read all items of a list, page after page.
	async all(path, query = {}, most = 20000) {
		const found = [];
		let cursor = null;
		do {
			const page = await this.get(path, { limit: 1000, ...query, cursor });
			found.push(...page.items);
			cursor = page.next_cursor;
		} while (cursor !== null && found.length < most);
		return found;
	}
}

// A new value for `Idempotency-Key`: calls with the same one make one thing.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].join("-");

export const pathOf = (...parts) => `v1/${parts.map(encodeURIComponent).join("/")}`;
