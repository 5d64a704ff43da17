// What the OpenAPI document says of the fields of a body: forms need no texts and bounds of their own.

import { count } from "./units.js";

const PLAIN = ["string", "integer", "number", "boolean", "array"];
const FAR = 1e9;
const exact = (value) => (Number.isInteger(value) ? count(value) : String(value));
const isMap = (schema) => schema.type === "object" && schema.patternProperties !== undefined;

// The fields of a schema that a form can ask for, each with its path, kind, text, bounds and default.
export function fieldsOf({ components: { schemas } }, name) {
	const real = (one) => (one.$ref ? schemas[one.$ref.split("/").at(-1)] : one);
	const walk = (schema, above, about) => Object.entries(schema.properties).flatMap(([key, one]) => {
		const options = (one.anyOf ?? [one]).map(real);
		const path = [...above, key];
		const found = options.find((option) => PLAIN.includes(option.type) || isMap(option));
		if (found) return [{ ...found, path: path.join("/"), group: above[0] ?? "", about, text: one.description ?? found.description ?? "", preset: one.default, required: above.length === 0 && (schema.required ?? []).includes(key), kind: found.enum ? "enum" : isMap(found) ? "map" : found.type, recipes: one["x-tcsfeel-defaults"] }];
		const inner = options.find((option) => option.properties);
		return inner ? walk(inner, path, above.length ? about : inner.description) : [];
	});
	return walk(schemas[name], [], "");
}

// Read what was entered into a field. Returns its value, and what is wrong with it.
export function read(field, entered) {
	const text = entered.trim();
	if (text === "") return [undefined, field.required ? "should have a value" : ""];
	if (field.kind === "integer" || field.kind === "number") return number(field, text);
	if (field.kind === "boolean") return [text === "true", ""];
	if (field.kind === "array") return [parts(text), ""];
	if (field.kind === "map") return map(text);
	if (field.maxLength < text.length) return [text, `should have at most ${count(field.maxLength)} characters`];
	return [text, field.pattern && !new RegExp(field.pattern, "u").test(text) ? "has characters that are not allowed here" : ""];
}

const parts = (text) => text.split(",").map((one) => one.trim()).filter(Boolean);

function number(field, text) {
	const value = Number(text);
	if (!Number.isFinite(value)) return [undefined, "should be a number, such as 0.5"];
	const { minimum: least, maximum: most, exclusiveMinimum: above, exclusiveMaximum: below } = field;
	if (field.kind === "integer" && !Number.isInteger(value)) return [value, "should be a whole number"];
	if (value < least) return [value, `should be at least ${exact(least)}`];
	if (value > most) return [value, `should be at most ${count(most)}`];
	if (value <= above) return [value, `should be more than ${exact(above)}`];
	return [value, value >= below ? `should be less than ${count(below)}` : ""];
}

function map(text) {
	const pairs = parts(text).map((one) => one.split(/:(.*)/s, 2).map((part) => part.trim()));
	return pairs.every(([name, value]) => name && value) ? [Object.fromEntries(pairs), ""] : [undefined, "should be tags such as site: north, separated by commas"];
}

// Put a value into a body at a path such as selection/min_clients.
export function put(body, path, value) {
	const names = path.split("/");
	const last = names.pop();
	let place = body;
	for (const name of names) place = place[name] ??= {};
	place[last] = value;
}

// The range of a number field in words. Bounds that no value comes near are left out.
export function bounds({ kind, minimum, maximum, exclusiveMinimum, exclusiveMaximum }) {
	if (kind !== "integer" && kind !== "number") return "";
	const far = (value) => value === undefined || Math.abs(value) >= FAR;
	const [least, most] = [minimum ?? exclusiveMinimum, maximum ?? exclusiveMaximum];
	if (far(least)) return far(most) ? "" : `At most ${count(most)}.`;
	const low = `${exclusiveMinimum === undefined ? "At least" : "More than"} ${exact(least)}`;
	return far(most) ? `${low}.` : `${low}, ${exclusiveMaximum === undefined ? "at most" : "less than"} ${count(most)}.`;
}
