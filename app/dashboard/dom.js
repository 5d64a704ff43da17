// Build nodes of the page. Text always becomes a text node, so nothing that a device sent can become markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (value === null || value === undefined || value === false) continue;
		if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
		else node.setAttribute(name, value === true ? "" : value);
	}
	for (const child of children.flat(4)) {
		if (child !== null && child !== undefined && child !== false) node.append(child);
	}
	return node;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const p = (kind, ...children) => h("p", { class: kind }, ...children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Replace the children of a node. The focus and opened details stay where they were, by `data-keep`, address, name or text.
export function replace(node, ...children) {
	const focused = node.contains(document.activeElement) ? mark(document.activeElement) : null;
	const open = [...node.querySelectorAll("details[open][data-keep]")].map((one) => one.dataset.keep);
	node.replaceChildren();
	fill(node, {}, children);
	for (const one of node.querySelectorAll("details[data-keep]")) if (open.includes(one.dataset.keep)) one.open = true;
	if (focused) [...node.querySelectorAll("a,button,input,select,summary")].find((one) => mark(one) === focused)?.focus();
}

function mark(node) {
	return node.dataset.keep ?? node.getAttribute("href") ?? node.getAttribute("aria-label") ?? node.getAttribute("name") ?? `${node.tagName} ${node.textContent}`;
}

// A section that is only drawn again when its data have changed.
export class Panel {
	#drawn;

	constructor(title, attributes = {}) {
		this.body = h("div", { class: "body" });
		this.element = h("section", { class: "panel", ...attributes }, title && h("h2", {}, title), this.body);
		this.body.append(p("quiet", "Loading…"));
	}

	show(data, build) {
		const key = JSON.stringify(data);
		if (key === this.#drawn) return;
		this.#drawn = key;
		replace(this.body, build(data));
	}
}

// On a phone, rows are blocks and `data-name` is shown, so the roles that a table has by itself are written out.
export function table(columns, rows, caption) {
	for (const one of rows.flat(4).filter(Boolean)) {
		one.setAttribute("role", "row");
		[...one.cells].forEach((cell, index) => { cell.dataset.name = columns[index]; cell.setAttribute("role", cell.scope === "row" ? "rowheader" : "cell"); });
	}
	return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
		h("table", { role: "table" },
			h("caption", { class: "hidden" }, caption),
			h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
			h("tbody", { role: "rowgroup" }, rows)));
}

export const row = (...cells) => h("tr", {}, cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : h("td", {}, cell))));

// Show a long list in pages. `draw` makes the nodes of some items.
export function paged(items, size, draw) {
	const box = h("div", {});
	const show = (page) => {
		const last = Math.max(0, Math.ceil(items.length / size) - 1);
		replace(box, draw(items.slice(page * size, (page + 1) * size)), last > 0 && h("nav", { class: "pages", "aria-label": "Pages" },
			h("button", { disabled: page === 0, onclick: () => show(page - 1) }, "Back"),
			h("span", {}, `${page * size + 1} to ${Math.min(items.length, (page + 1) * size)} of ${items.length}`),
			h("button", { disabled: page === last, onclick: () => show(page + 1) }, "Next")));
	};
	show(0);
	return box;
}

export function facts(pairs) {
	return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

// Put a text into the clipboard. Browsers offer it to pages with TLS and of this machine; others get it by selecting it.
export async function copied(text) {
	if (navigator.clipboard && await navigator.clipboard.writeText(text).then(() => true, () => false)) return true;
	const field = h("textarea", { class: "hidden" });
	field.value = text;
	document.body.append(field);
	field.select();
	const done = document.execCommand("copy");
	field.remove();
	return done;
}

// Ask before something is done. Resolves to whether the user agreed.
export function ask(title, text, action) {
	return new Promise((resolve) => {
		const dialog = h("dialog", { "aria-labelledby": "asked", onclose: () => { resolve(dialog.returnValue === "yes"); dialog.remove(); } },
			h("h2", { id: "asked" }, title), h("p", {}, text),
			h("div", { class: "actions" },
				h("button", { autofocus: true, onclick: () => dialog.close("no") }, "Go back"),
				h("button", { class: "danger", onclick: () => dialog.close("yes") }, action)));
		document.body.append(dialog);
		dialog.showModal();
	});
}
