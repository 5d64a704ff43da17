// Small charts as SVG. Every figure in them also stands as text in a table or a tooltip.

import { h, p, svg } from "./dom.js";

const MARGIN = { top: 10, right: 12, bottom: 24, left: 56 };

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function extent(values) {
	let [low, high] = [Math.min(...values), Math.max(...values)];
	if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
	const pad = (high - low) * 0.06;
	return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

function ticks(low, high, wanted) {
	const raw = (high - low) / wanted;
	const power = 10 ** Math.floor(Math.log10(raw));
	const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw);
	const found = [];
	for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
	return found;
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

// Draw one figure over rounds. `limit` is a dashed line: a target, a budget or a deadline.
export function lineChart({ title, points, limit, limitName, format, width, height = 170, fromZero = false, marked }) {
	const shown = points.filter(([, value]) => isNumber(value));
	const head = h("figcaption", {}, h("strong", {}, title), shown.length > 0 && h("span", {}, format(shown.at(-1)[1])),
		isNumber(limit) && h("span", { class: "limit" }, `${limitName} ${format(limit)}`));
	if (shown.length === 0) return h("figure", {}, head, p("quiet", "Nothing is measured yet."));
	const values = shown.map(([, value]) => value);
	const [low, high] = extent([...values, ...(isNumber(limit) ? [limit] : []), ...(fromZero ? [0] : [])]);
	const [first, last] = [shown[0][0], Math.max(shown.at(-1)[0], shown[0][0] + 1)];
	const x = (round) => MARGIN.left + ((round - first) / (last - first)) * (width - MARGIN.left - MARGIN.right);
	const y = (value) => MARGIN.top + (1 - (value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
	const rounds = [...new Set(ticks(first, last, Math.min(8, width / 70)).map(Math.round))].filter((one) => one >= first && one <= last);
	const dots = shown.length <= 150 ? shown : shown.slice(-1);
	return h("figure", {}, head, svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} by round: from ${format(values[0])} in round ${first} to ${format(values.at(-1))} in round ${shown.at(-1)[0]}` },
		ticks(low, high, 4).map((value) => [svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
			svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value))]),
		rounds.map((value) => svg("text", { x: x(value), y: height - 6, "text-anchor": "middle" }, String(value))),
		isNumber(limit) && svg("line", { class: "limit", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(limit), y2: y(limit) }),
		svg("path", { class: "line", d: path(shown.map(([round, value]) => [x(round), y(value)])) }),
		dots.map(([round, value]) => svg("circle", { class: round === marked ? "dot marked" : "dot", cx: x(round), cy: y(value), r: round === marked ? 5 : 3 },
			svg("title", {}, `Round ${round}: ${format(value)}`)))));
}

// Draw a tiny curve towards a target, for lists.
export function sparkline({ points, target, label, width = 160, height = 36 }) {
	const shown = points.filter(([, value]) => isNumber(value));
	if (shown.length === 0) return h("span", { class: "quiet" }, "no measurement yet");
	const [low, high] = extent([...shown.map(([, value]) => value), ...(isNumber(target) ? [target] : [])]);
	const [first, last] = [shown[0][0], Math.max(shown.at(-1)[0], shown[0][0] + 1)];
	const x = (round) => 3 + ((round - first) / (last - first)) * (width - 6);
	const y = (value) => 3 + (1 - (value - low) / (high - low)) * (height - 6);
	return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label },
		isNumber(target) && svg("line", { class: "limit", x1: 0, x2: width, y1: y(target), y2: y(target) }),
		svg("path", { class: "line", d: path(shown.map(([round, value]) => [x(round), y(value)])) }),
		svg("circle", { class: "dot", cx: x(shown.at(-1)[0]), cy: y(shown.at(-1)[1]), r: 3 }));
}

// One bar of a timeline, from the hand-over of a task to its end. Striped bars brought no result.
export function bar({ seconds, longest, limit, colour, label }) {
	const scale = 1000 / (longest || 1);
	return svg("svg", { class: "bar", viewBox: "0 0 1000 16", preserveAspectRatio: "none", role: "img", "aria-label": label },
		svg("title", {}, label),
		svg("rect", { class: "track", x: 0, y: 6, width: 1000, height: 4 }),
		isNumber(seconds) && svg("rect", { class: `fill ${colour}`, x: 0, y: 1, width: Math.max(4, Math.min(1000, seconds * scale)), height: 14, rx: 2 }),
		isNumber(limit) && limit <= longest && svg("line", { class: "limit", x1: limit * scale, x2: limit * scale, y1: 0, y2: 16 }));
}
