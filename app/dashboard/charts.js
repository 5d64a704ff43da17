// Small charts as SVG. Every figure in them also stands as text in a table or a tooltip.

import { h, p, svg } from "./dom.js";

const MARGIN = { top: 10, right: 12, bottom: 24, left: 62 };

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

function extent(values) {
	let [low, high] = [Math.min(...values), Math.max(...values)];
	if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
	const pad = (high - low) * 0.06;
	return [low >= 0 ? Math.max(0, low - pad) : low - pad, high + pad];
}

function ticks(low, high, wanted, steps = [1, 2, 2.5, 5, 10]) {
	const raw = (high - low) / wanted;
	const power = 10 ** Math.floor(Math.log10(raw));
	const step = steps.map((one) => one * power).find((one) => one >= raw);
	const found = [];
	for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(value);
	return found;
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

// How curves of one chart differ: by colour, and by dashes for those who see no colours. No colour is that of a target.
export const STYLES = [["active", null], ["good", "7 3"], ["worse", "2 3"], ["wait", "9 3 2 3"], ["off", "12 4"], ["own", "5 5"]];

export const sample = (index) => svg("svg", { class: `sample ${STYLES[index][0]}`, width: 34, height: 8, "aria-hidden": "true" }, svg("path", { class: "line", d: "M0,4L34,4", "stroke-dasharray": STYLES[index][1] }));

// Draw curves over rounds, or over what `along` names. `limit` is a dashed line: a target, a budget or a deadline.
export function lineChart({ title, points, curves = [{ points }], limit, limitName, format, width, height = 170, fromZero = false, marked, along = "round", place = String }) {
	const drawn = curves.map((one, index) => ({ ...one, style: STYLES[index], shown: one.points.filter(([, value]) => isNumber(value)) })).filter((one) => one.shown.length > 0);
	const head = h("figcaption", {}, h("strong", {}, title), drawn.length > 0 && curves.length === 1 && h("span", {}, format(drawn[0].shown.at(-1)[1])),
		isNumber(limit) && h("span", { class: "limit" }, `${limitName} ${format(limit)}`));
	if (drawn.length === 0) return h("figure", {}, head, p("quiet", "Nothing is measured yet."));
	const all = drawn.flatMap((one) => one.shown);
	const [low, high] = extent([...all.map(([, value]) => value), ...(isNumber(limit) ? [limit] : []), ...(fromZero ? [0] : [])]);
	const first = Math.min(...all.map(([one]) => one));
	const last = Math.max(...all.map(([one]) => one), first + (along === "round" ? 1 : 1e-3));
	const x = (at) => MARGIN.left + ((at - first) / (last - first)) * (width - MARGIN.left - MARGIN.right);
	const y = (value) => MARGIN.top + (1 - (value - low) / (high - low)) * (height - MARGIN.top - MARGIN.bottom);
	const marks = ticks(first, last, Math.min(8, width / 70), along === "round" ? [1, 2, 5, 10] : undefined).filter((one) => one >= first && (along !== "round" || Number.isInteger(one)));
	const told = ({ name = "", shown }) => `${name} from ${format(shown[0][1])} at ${place(shown[0][0])} to ${format(shown.at(-1)[1])} at ${place(shown.at(-1)[0])}`.trim();
	return h("figure", {}, head, svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title} by ${along}: ${drawn.map(told).join("; ")}` },
		ticks(low, high, 4).map((value) => [svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
			svg("text", { x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, format(value))]),
		marks.map((one) => svg("text", { x: x(one), y: height - 6, "text-anchor": "middle" }, place(one))),
		isNumber(limit) && svg("line", { class: "limit", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(limit), y2: y(limit) }),
		drawn.map(({ name, shown, style: [colour, dashes] }) => svg("g", { class: colour }, svg("path", { class: "line", d: path(shown.map(([at, value]) => [x(at), y(value)])), "stroke-dasharray": dashes }),
			(all.length <= 150 ? shown : shown.slice(-1)).map(([at, value]) => svg("circle", { class: at === marked ? "dot marked" : "dot", cx: x(at), cy: y(value), r: at === marked ? 5 : 3 },
				svg("title", {}, `${name ? `${name}, ` : ""}${along} ${place(at)}: ${format(value)}`)))))));
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
