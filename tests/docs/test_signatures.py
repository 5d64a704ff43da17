"""The example of signatures in the protocol's page has the values that the code gives."""

from tcsfeel.identity import Identity
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.signatures import answer_components, call_components, sign_answer, sign_call
from tests.docs.pages import page

SERVER, DEVICE = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
NOW = 1795996800.0


def test_the_example_of_signatures_has_the_values_of_the_code() -> None:
    text = page("agent-protocol.md").split("\n## Signed calls and answers\n")[1].split("\n## ")[0]
    components = call_components("GET", "/agents/edge-7/healthz", DEVICE.public_key)
    call, of_call = sign_call(SERVER, components, now=NOW, nonce="nZ4kXq0pV2cW9sYtB1uLrA")
    digest = written_digest(digest_of([b'{"status":"ok"}']))
    answer, of_answer = sign_answer(DEVICE, answer_components(200, digest, call), now=NOW)
    assert f"`{SERVER.public_key}` and `{DEVICE.public_key}`" in text
    assert '`{"status":"ok"}`' in text
    for block in (call.base, answer.base):
        assert f"```\n{block}\n```" in text
    for name, value in [*of_call.items(), *of_answer.items(), ("Content-Digest", digest)]:
        assert f"\n{name}: {value}\n" in text
