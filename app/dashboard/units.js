// Numbers in human units, and times in the viewer's time zone.

import { h } from "./dom.js";

const plain = (value, digits = 3) => new Intl.NumberFormat(undefined, { maximumSignificantDigits: digits }).format(value);

export const count = (value) => new Intl.NumberFormat().format(value);
export const many = (number, one, several = `${one}s`) => `${count(number)} ${number === 1 ? one : several}`;
export const number = (value, digits = 4) => (value === null || value === undefined ? "–" : plain(value, digits));

export function bytes(value) {
	if (value === null || value === undefined) return "–";
	const power = value < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(value) / 3));
	return `${plain(value / 1000 ** power)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

export function seconds(value) {
	if (value === null || value === undefined) return "–";
	if (value === 0) return "0 s";
	if (value < 1) return `${plain(value * 1000)} ms`;
	if (value < 120) return `${plain(value)} s`;
	if (value < 7200) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
	if (value < 172800) return `${Math.floor(value / 3600)} h ${Math.round((value % 3600) / 60)} min`;
	return `${Math.floor(value / 86400)} days`;
}

// Accuracies are shown in percent, other metrics as they are.
export function metric(name, value) {
	if (value === null || value === undefined) return "–";
	return name === "accuracy" ? `${(value * 100).toFixed(2)} %` : number(value);
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export function ago(instant) {
	if (!instant) return "never";
	const node = h("time", { datetime: instant, title: FULL.format(new Date(instant)) });
	node.textContent = since(instant);
	return node;
}

export const at = (instant) => (instant ? h("time", { datetime: instant, "data-exact": true }, FULL.format(new Date(instant))) : "–");

function since(instant) {
	const passed = (Date.now() - Date.parse(instant)) / 1000;
	const [length, sign] = [Math.abs(passed), passed < 0];
	if (length < 5) return "now";
	const text = length < 60 ? `${Math.round(length)} s` : length < 3600 ? `${Math.round(length / 60)} min`
		: length < 172800 ? `${Math.round(length / 3600)} h` : `${Math.round(length / 86400)} days`;
	return sign ? `in ${text}` : `${text} ago`;
}

// Bring all relative times of the page up to date.
export function tick() {
	for (const node of document.querySelectorAll("time:not([data-exact])")) {
		const text = since(node.getAttribute("datetime"));
		if (node.textContent !== text) node.textContent = text;
	}
}
