// The frame of the dashboard: log in, choose the view of the address, and keep it up to date.

import { Api, Refused, Unreachable } from "./api.js";
import { ask, h, p, replace } from "./dom.js";
import { Overview } from "./overview.js";
import { tick } from "./units.js";
import { LIVE } from "./words.js";

const RANKS = { viewer: 1, operator: 2, admin: 3 };
const MOST_SECONDS = 30, STREAMED_SECONDS = 15, GAP = 2000;
const MENU = [["", "Overview"], ["start", "Start"], ["compare", "Compare"], ["clients", "Clients"], ["topology", "Topology"]];

const main = document.getElementById("main");
const notices = document.getElementById("notices");

class App {
	api = new Api();
	#caller = null;
	#view = null;
	#timer = null;
	#failures = 0;
	#stream = null;
	#streams = false;
	#rung = false;
	#readAt = 0;

	may(role) { return (RANKS[this.#caller?.role] ?? 0) >= RANKS[role]; }

	// The width in pixels of a chart, if so many of them stand side by side.
	width(beside = 1) {
		const inside = Math.min(main.clientWidth, 1180) - 66;
		return Math.max(260, window.innerWidth < 720 ? inside : Math.floor((inside - 24 * (beside - 1)) / beside));
	}

	async start() {
		if (document.documentElement.dataset.needsKey === "yes" && !this.api.hasSession) return this.#logIn(null);
		try {
			this.#caller = await this.api.caller();
		} catch (error) {
			if (![401, 403].includes(error.status)) {
				replace(main, p("empty", `${error.message} The page tries again by itself.`));
				return setTimeout(() => this.start(), LIVE * 1000);
			}
			return this.#end(this.api.hasSession ? "The session has ended, or its key is not valid any more. Log in again." : null);
		}
		this.listen();
		this.route();
	}

	// Follow the events while the tab is shown. They only say when to read again: the views read the state itself.
	async listen() {
		this.#stream?.abort();
		if (document.hidden || this.#caller === null) return;
		const { signal } = (this.#stream = new AbortController());
		while (!signal.aborted) {
			await this.api.listen((happened) => {
				this.#streams = true;
				this.#rung ||= happened;
				if (happened) this.#later(this.#readAt + GAP - Date.now());
			}, signal).catch(() => {});
			this.#streams = false;
			await new Promise((done) => setTimeout(done, STREAMED_SECONDS * 1000));
		}
	}

	#later(milliseconds) {
		clearTimeout(this.#timer);
		if (!document.hidden) this.#timer = setTimeout(() => this.refresh(), Math.max(0, milliseconds));
	}

	async route() {
		if (this.#caller === null) return;
		const place = location.hash;
		const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
		const parts = path.split("/").filter(Boolean).map(decodeURIComponent);
		const given = new URLSearchParams(query);
		const [noun, id] = parts;
		let view;
		try {
			view = await this.#load(noun, id, given);
		} catch (error) {
			return this.#banner(`${error.message} Reload the page once the server answers.`);
		}
		if (this.#caller === null || place !== location.hash) return;
		this.#view = view;
		this.#header(noun ?? "");
		replace(main, !id && h("h1", { class: "hidden" }, this.#view.title), this.#view.element);
		window.scrollTo(0, 0);
		this.refresh();
	}

	// Only the overview comes with the page. The modules of another view are loaded when it is opened.
	async #load(noun, id, given) {
		if (noun === "trainings" && id) return new (await import("./training.js")).TrainingView(this, id, given);
		if (noun === "clients" && id) return new (await import("./clients.js")).ClientView(this, id);
		if (noun === "clients") return new (await import("./clients.js")).ClientsView(this, given);
		if (noun === "topology") return new (await import("./topology.js")).TopologyView(this);
		if (noun === "start") return new (await import("./start.js")).StartView(this);
		if (noun === "compare") return new (await import("./compare.js")).CompareView(this, given);
		return new Overview(this);
	}

	// Bring the view up to date, now and again after a while. If it is at it already, do it once more.
	async refresh() {
		clearTimeout(this.#timer);
		const view = this.#view;
		if (view === null) return;
		if (view.again !== undefined) { view.again = true; return; }
		view.again = false;
		[this.#readAt, this.#rung] = [Date.now(), false];
		let pause = LIVE;
		try {
			pause = await view.refresh();
			if (view !== this.#view) return;
			this.#failures = 0;
			this.#banner(null);
			document.title = `${view.title} · TCS-FEEL`;
		} catch (error) {
			if (view !== this.#view) return;
			if (error instanceof Refused && error.status === 401) return this.#end("The key is not valid any more. Log in again.");
			if (error instanceof Refused && error.status === 404) { replace(main, p("empty", `${error.message} `, h("a", { href: "#/" }, "Go to the overview"))); return; }
			if (!(error instanceof Refused || error instanceof Unreachable)) console.error(error);
			this.#failures += 1;
			pause = Math.min(MOST_SECONDS, LIVE * 2 ** this.#failures);
			this.#banner(`${error.message} What you see may be out of date; the page tries again.`);
		}
		const again = view.again;
		delete view.again;
		if (again) this.refresh();
		else this.#later(this.#rung ? GAP : (this.#streams && pause === LIVE ? STREAMED_SECONDS : pause) * 1000);
	}

	wake() { if (this.#view && !document.hidden) this.refresh(); }

	// Do something that the user asked for, and show the result. A `warning` is shown first, to be agreed to.
	async act(title, doIt, warning) {
		if (warning && !(await ask(`${title}?`, warning, title))) return;
		if (await this.attempt(doIt)) this.tell(`Done: ${title}.`);
		if (this.#view) this.refresh();
	}

	async attempt(doIt) {
		try {
			await doIt();
			return true;
		} catch (error) {
			this.tell(error.message, true);
			return false;
		}
	}

	tell(text, wrong = false) {
		const note = h("p", { class: wrong ? "notice wrong" : "notice" }, text);
		notices.append(note);
		setTimeout(() => note.remove(), wrong ? 20000 : 6000);
	}

	#banner(text) {
		document.getElementById("banner")?.remove();
		if (text) main.before(h("p", { id: "banner", role: "alert" }, text));
	}

	#header(noun) {
		replace(document.getElementById("top"), h("a", { class: "brand", href: "#/" }, "TCS-FEEL"),
			this.#caller && h("nav", { "aria-label": "Views" }, MENU.map(([place, name]) => h("a", { href: `#/${place}`, "aria-current": place === noun || (place === "" && noun === "trainings") ? "page" : null }, name)), h("a", { href: "docs" }, "API")),
			this.#caller && h("div", { class: "who" }, h("span", {}, `${this.#caller.name} (${this.#caller.role})`), this.api.hasSession && h("button", { onclick: () => this.#end(null) }, "Log out")));
	}

	#end(message) {
		clearTimeout(this.#timer);
		if (message === null && this.api.hasSession) this.api.logOut().catch((error) => error.status !== 401 && this.tell(`${error.message} You are still logged in: try again later.`, true));
		else this.api.forget();
		this.#logIn(message);
	}

	#logIn(message) {
		[this.#caller, this.#view] = [null, null];
		this.listen();
		this.#banner(null);
		this.#header("");
		const field = h("input", { id: "key", name: "key", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", autofocus: true });
		const wrong = h("p", { class: "wrong", role: "alert" }, message ?? "");
		const button = h("button", { class: "primary" }, "Log in");
		replace(main, h("form", { class: "login panel", onsubmit: async (event) => {
			event.preventDefault();
			const key = field.value.trim();
			button.disabled = true;
			try {
				if (!/^[\x21-\x7e]+$/.test(key)) throw new Error("A key has only visible ASCII characters. Check what you have pasted.");
				await this.api.logIn(key);
				await this.start();
			} catch (error) {
				wrong.textContent = error instanceof Refused && error.status === 401 ? "The server does not know this key. Check that it is complete and has not expired." : error.message;
			}
			button.disabled = false;
		} }, h("h1", {}, "Log in"), h("label", { for: "key" }, "Your API key"), field, button, wrong,
		p("quiet", "An administrator makes keys with `tcsfeel keys create`. The first start of the server prints the admin key, and keeps it in `admin-key` in its data directory."),
		p("quiet", "The browser keeps the key encrypted in a cookie, for half a day or until you log out.")));
		field.focus();
	}
}

const app = new App();
let resizing = null;
window.addEventListener("hashchange", () => app.route());
document.addEventListener("visibilitychange", () => { app.listen(); app.wake(); });
window.addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => app.wake(), 200); });
setInterval(tick, 5000);
app.start();
