// The code that does the same as a form: for a shell, and in Python. The key stays in the environment.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function curl(server, body) {
	return `server=${quoted(server)}
auth="Authorization: Bearer $TCSFEEL_KEY"
training=$(curl -fsS -H "$auth" -H "Content-Type: application/json" "$server/v1/trainings" -d ${quoted(JSON.stringify(body, null, 2))} |
  sed 's/.*"id":"\\([0-9a-f]*\\)".*/\\1/')
curl -fsS -H "$auth" -X POST "$server/v1/trainings/$training/start"
`;
}

export function python(server, body) {
	const fields = Object.entries(body).map(([name, value]) => `        ${name}=${literal(value)},`);
	return `import os

from tcsfeel import Client

with Client(${literal(server)}, os.environ["TCSFEEL_KEY"]) as client:
    training = client.create_training(
${fields.join("\n")}
    )
    client.start_training(training.id)
`;
}

function literal(value) {
	if (value === null) return "None";
	if (typeof value === "boolean") return value ? "True" : "False";
	if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
	if (typeof value === "object") return `{${Object.entries(value).map((pair) => pair.map(literal).join(": ")).join(", ")}}`;
	return JSON.stringify(value);
}
