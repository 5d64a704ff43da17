"""The model versions of a training on the dashboard: when their list is read again, and how one is forked."""

from pathlib import Path

from tests.nodejs import needs_node, run

pytestmark = needs_node

READ = """
    const { Versions } = await import("./versions.js");
    const waiting = [];
    const all = () => new Promise((done) => waiting.push(done));
    const put = async () => {};
    const versions = new Versions({ all, put }, "t");
    const training = { current_round: 3, model: "m" };
    const stale = versions.read(training);
    await versions.pin({ round: 1, pinned: false });
    waiting.shift()(["not pinned"]);
    await stale;
    const fresh = versions.read(training);
    waiting.shift()?.(["pinned"]);
    return [await fresh, await versions.read(training), waiting.length];
"""
FORK = """
    const { Versions } = await import("./versions.js");
    const asked = [];
    let answers = false;
    const post = async (path, body, headers) => {
        asked.push([path, body, headers["Idempotency-Key"]]);
        if (!answers) throw new Error("no answer");
        return { id: "new" };
    };
    const versions = new Versions({ post }, "t");
    const fork = () => versions.fork({ name: given }, { round: 12 }).catch((error) => error.message);
    const made = [await fork()];
    answers = true;
    for (let time = 0; time < 2; time += 1) made.push(await fork());
    return { asked, made };
"""


def test_a_read_that_was_under_way_does_not_bring_back_what_a_pin_has_changed(tmp_path: Path) -> None:
    assert run(tmp_path, READ, None) == [["pinned"], ["pinned"], 0]


def test_a_fork_is_made_once_even_if_its_answer_is_lost(tmp_path: Path) -> None:
    found = run(tmp_path, FORK, "digits")
    assert found["made"] == ["no answer", {"id": "new"}, {"id": "new"}]
    (path, body, key), *others = found["asked"]
    assert (path, body) == ("v1/trainings", {"from": {"training": "t", "round": 12}, "name": "digits, from round 12"})
    assert [one[2] == key for one in others] == [True, False]


def test_the_name_of_a_fork_is_not_too_long(tmp_path: Path) -> None:
    name = run(tmp_path, FORK, "🙂" * 256)["asked"][0][1]["name"]
    assert len(name) == 256
    assert name.endswith("🙂, from round 12")
