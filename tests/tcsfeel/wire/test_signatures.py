"""Signatures of calls and answers: what they cover, and what does not fit."""

import base64
from dataclasses import replace

import pytest

from tcsfeel.identity import Identity, verify, written
from tcsfeel.wire.digests import digest_of, written_digest
from tcsfeel.wire.signatures import (
    Components,
    Signed,
    WrongSignature,
    answer_components,
    call_components,
    check_answer,
    check_call,
    sign_answer,
    sign_call,
    signature_base,
)

SERVER, AGENT, STRANGER = Identity(b"s" * 32), Identity(b"a" * 32), Identity(b"x" * 32)
NOW = 1_700_000_000.5
BODY = written_digest(digest_of([b"the task"]))
TASK = "/agents/a/tasks/t.1.a.fit"
PUT = call_components("PUT", TASK, AGENT.public_key, BODY)
POLL = call_components("GET", f"{TASK}?wait=20", AGENT.public_key)
RESULT = written_digest(digest_of([b"the result"]))


def signed(
    components: Components = PUT, identity: Identity = SERVER, nonce: str = "n1"
) -> tuple[Signed, dict[str, str]]:
    return sign_call(identity, components, now=NOW, nonce=nonce)


def checked(headers: dict[str, str], components: Components = PUT, now: float = NOW) -> Signed:
    return check_call(headers, components, key=SERVER.public_key, now=now)


def refusal(headers: dict[str, str], components: Components = PUT, now: float = NOW) -> str:
    with pytest.raises(WrongSignature) as caught:
        checked(headers, components, now)
    return str(caught.value)


def test_the_base_is_that_of_the_example_of_rfc_9421() -> None:
    """Appendix B.2.6, with the key ``test-key-ed25519`` of appendix B.1.4."""
    components = {
        '"date"': "Tue, 20 Apr 2021 02:07:55 GMT",
        '"@method"': "POST",
        '"@path"': "/foo",
        '"@authority"': "example.com",
        '"content-type"': "application/json",
        '"content-length"': "18",
    }
    base = signature_base(components, f'({" ".join(components)});created=1618884473;keyid="test-key-ed25519"')
    key = written(base64.b64decode("MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")[-32:])
    seed = base64.b64decode("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF")[-32:]
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )
    assert Identity(seed).public_key == key
    assert Identity(seed).sign(base.encode()) == signature
    assert verify(key, signature, base.encode())


def test_a_call_and_its_answer_are_written_as_the_rfc_says() -> None:
    call, headers = signed()
    covered = '("@method" "@path" "content-digest" "tcsfeel-agent")'
    parameters = f'created=1700000000;expires=1700000060;nonce="n1";keyid="{SERVER.public_key}";tag="tcsfeel"'
    assert headers == {
        "Signature-Input": f"tcsfeel={covered};{parameters}",
        "Signature": f"tcsfeel=:{base64.b64encode(call.signature).decode()}:",
    }
    assert call.base.splitlines() == [
        '"@method": PUT',
        f'"@path": {TASK}',
        f'"content-digest": {BODY}',
        f'"tcsfeel-agent": {AGENT.public_key}',
        f'"@signature-params": {covered};{parameters}',
    ]
    assert '"@query": ?wait=20' in signed(POLL)[0].base.splitlines()
    answer, _ = sign_answer(AGENT, answer_components(200, RESULT, call), now=NOW)
    parameters = f'created=1700000000;keyid="{AGENT.public_key}";tag="tcsfeel"'
    assert answer.base.splitlines() == [
        '"@status": 200',
        f'"content-digest": {RESULT}',
        f'"signature";req;key="tcsfeel": {call.written}',
        f'"@signature-params": ("@status" "content-digest" "signature";req;key="tcsfeel");{parameters}',
    ]


def test_a_call_fits_what_was_signed_and_nothing_else() -> None:
    call, headers = signed()
    assert checked(headers) == call
    other = written_digest(digest_of([b"another task"]))
    for components in (
        call_components("DELETE", TASK, AGENT.public_key, BODY),
        call_components("PUT", "/agents/b/tasks/t.1.a.fit", AGENT.public_key, BODY),
        call_components("PUT", TASK, STRANGER.public_key, BODY),
        call_components("PUT", TASK, AGENT.public_key, other),
    ):
        assert refusal(headers, components) == "its signature does not fit"
    polled = signed(POLL)[1]
    assert checked(polled, POLL).nonce == "n1"
    assert refusal(polled, call_components("GET", f"{TASK}?wait=0", AGENT.public_key)) == "its signature does not fit"


def test_everything_has_to_be_covered() -> None:
    without_body = call_components("PUT", TASK, AGENT.public_key)
    assert refusal(signed(without_body)[1]).startswith('its signature covers \'"@method" ')
    assert "and should cover" in refusal(signed(PUT)[1], without_body)
    assert "and should cover" in refusal(signed(POLL)[1], call_components("GET", TASK, AGENT.public_key))
    twice = signed()[1]
    twice["Signature-Input"] = twice["Signature-Input"].replace('"@path"', '"@path" "@path"')
    assert "and should cover" in refusal(twice)


def test_another_key_is_named() -> None:
    headers = signed(identity=STRANGER)[1]
    assert refusal(headers) == (
        f"it is signed with the key '{STRANGER.public_key}', and should be with {SERVER.public_key}"
    )
    forged = headers | {"Signature-Input": headers["Signature-Input"].replace(STRANGER.public_key, SERVER.public_key)}
    assert refusal(forged) == "its signature does not fit"


@pytest.mark.parametrize("seconds", [-60.4, -1.0, 0.0, 59.0])
def test_clocks_may_differ_by_a_minute(seconds: float) -> None:
    assert checked(signed()[1], now=NOW + seconds).nonce == "n1"


@pytest.mark.parametrize("seconds", [-61.0, 60.0, 3600.0, -1e9])
def test_a_call_that_is_too_old_or_too_early_advises_to_set_the_clock(seconds: float) -> None:
    reason = refusal(signed()[1], now=NOW + seconds)
    assert reason.startswith("it was signed at 2023-11-14 22:13:20 UTC, and the clock of the agent says ")
    assert reason.endswith("they may differ by 60 s; if they always do, set the clock of the agent")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Signature", "tcsfeel=:AAAA:"),
        ("Signature", "other=:{0}:"),
        ("Signature", "x" * 100_000),
        ("Signature-Input", "tcsfeel=()"),
        ("Signature-Input", 'tcsfeel=("@method";created=1'),
        ("Signature-Input", 'tcsfeel=("@method");created="1";created=' + "9" * 30),
        ("Signature-Input", 'tcsfeel=("@method");nonce="\x00"'),
        ("Signature-Input", "tcsfeel=(" + " " * 100_000),
        ("Signature-Input", 'tcsfeel=("@method")' + ';a="' * 100_000),
    ],
)
def test_other_forms_are_refused(name: str, value: str) -> None:
    reason = refusal(signed()[1] | {name: value})
    assert "is not in the form that the agent protocol describes" in reason or "and should cover" in reason
    assert len(reason) < 500


@pytest.mark.parametrize("missing", ["created=1700000000;", "expires=1700000060;", 'nonce="n1";', ';tag="tcsfeel"'])
def test_every_parameter_is_needed(missing: str) -> None:
    headers = signed()[1]
    assert missing in headers["Signature-Input"]
    headers["Signature-Input"] = headers["Signature-Input"].replace(missing, "")
    assert "the parameters of its Signature-Input have no " in refusal(headers)


def test_components_and_parameters_may_have_any_order_and_an_alg() -> None:
    covered = {name: PUT[name] for name in sorted(PUT)}
    parameters = f'({" ".join(covered)});alg="ed25519";tag="tcsfeel";nonce="n9";keyid="{SERVER.public_key}"'
    parameters += ";expires=1700000060;created=1700000000"
    signature = base64.b64encode(SERVER.sign(signature_base(covered, parameters).encode())).decode()
    headers = {"Signature-Input": f"tcsfeel={parameters}", "Signature": f"tcsfeel=:{signature}:"}
    assert checked(headers).nonce == "n9"


def test_a_message_without_signature_is_not_signed() -> None:
    headers = signed()[1]
    for name in headers:
        assert refusal({name: headers[name]}) == "it is not signed"
    assert refusal({}) == "it is not signed"


def test_an_answer_fits_the_call_that_it_was_made_for_and_no_other() -> None:
    call, again, of_poll = signed()[0], signed(nonce="n2")[0], signed(POLL)[0]
    components = answer_components(200, RESULT, call)
    answer, headers = sign_answer(AGENT, components, now=NOW)
    assert check_answer(headers, components, key=AGENT.public_key) == replace(answer, nonce="")
    for wrong in (
        answer_components(200, RESULT, again),
        answer_components(200, RESULT, of_poll),
        answer_components(202, RESULT, call),
        answer_components(200, BODY, call),
    ):
        with pytest.raises(WrongSignature, match="its signature does not fit"):
            check_answer(headers, wrong, key=AGENT.public_key)
    with pytest.raises(WrongSignature, match="it is signed with the key"):
        check_answer(headers, components, key=STRANGER.public_key)
    with pytest.raises(WrongSignature, match="it is not signed"):
        check_answer({}, components, key=AGENT.public_key)
