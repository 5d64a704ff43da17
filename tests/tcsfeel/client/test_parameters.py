"""Models up and down, over real sockets that break."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from tcsfeel.client import NoAnswer, NotFound, UnexpectedAnswer
from tcsfeel.wire.codec import encode
from tests.tcsfeel.client.callers import Caller, both
from tests.tcsfeel.client.servers import answer, scripted

MODEL = encode({"w": np.arange(6, dtype=np.float32).reshape(2, 3)})
NEWER = encode({"w": np.ones((2, 3), np.float32)})
MISSING = answer(404, b'{"type": "urn:tcsfeel:problem:not-found", "detail": "there is no model"}')


def name_of(model: bytes) -> str:
    return hashlib.sha256(model).hexdigest()


def whole(model: bytes = MODEL, sent: int | None = None) -> bytes:
    """The download of a model, of which `sent` bytes come before the connection ends."""
    return answer(200, model[:sent], length=len(model), ETag=f'"{name_of(model)}"')


def rest(start: int, model: bytes = MODEL, sent: int | None = None) -> bytes:
    part = model[start:]
    content_range = f"bytes {start}-{len(model) - 1}/{len(model)}"
    headers = {"ETag": f'"{name_of(model)}"', "Content_Range": content_range}
    return answer(206, part[:sent], length=len(part), **headers)


@both
def test_a_download_that_is_cut_goes_on_where_it_stopped(call: Caller, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    with scripted(whole(sent=20), rest(20, sent=30), b"", rest(50)) as server:
        assert call(server.url, "save_model", "t1", target, after_round=3) == target
    assert target.read_bytes() == MODEL
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert [server.header(number, "Range") for number in range(4)] == [None, "bytes=20-", "bytes=50-", "bytes=50-"]
    assert server.header(1, "If-Range") == f'"{name_of(MODEL)}"'
    assert all(request.startswith(b"GET /v1/trainings/t1/model?round=3 ") for request in server.requests)


@both
def test_arrays_survive_a_cut_too(call: Caller) -> None:
    with scripted(whole(sent=20), rest(20)) as server:
        parameters = call(server.url, "download_model", "t1")
    np.testing.assert_array_equal(parameters["w"], np.arange(6).reshape(2, 3))


@both
def test_attempts_count_anew_as_long_as_bytes_come(call: Caller) -> None:
    cuts = [rest(start, sent=1) for start in range(1, 21)]  # many more than the attempts without progress
    with scripted(whole(sent=1), *cuts, rest(21)) as server:
        assert call(server.url, "download_model", "t1")["w"].shape == (2, 3)


@both
def test_a_later_call_takes_up_what_an_earlier_one_left(call: Caller, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    with scripted(whole(sent=20), MISSING) as server, pytest.raises(NotFound):
        call(server.url, "save_model", "t1", target)
    assert not target.exists()
    assert (tmp_path / f".model.safetensors.{name_of(MODEL)}.part").stat().st_mode & 0o077 == 0
    with scripted(rest(20)) as server:
        call(server.url, "save_model", "t1", target)
    assert server.header(0, "Range") == "bytes=20-"
    assert target.read_bytes() == MODEL


@both
def test_a_version_that_changed_meanwhile_is_loaded_from_its_beginning(call: Caller, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    with scripted(whole(sent=20), whole(NEWER)) as server:
        call(server.url, "save_model", "t1", target)
    assert target.read_bytes() == NEWER
    assert len(list(tmp_path.iterdir())) == 1


@both
def test_a_part_that_does_not_fit_the_file_any_more_is_thrown_away(call: Caller, tmp_path: Path) -> None:
    (tmp_path / f".model.{name_of(MODEL)}.part").write_bytes(MODEL + b"more")
    with scripted(answer(416), whole()) as server:
        call(server.url, "save_model", "t1", tmp_path / "model")
    assert [server.header(number, "Range") for number in (0, 1)] == [f"bytes={len(MODEL) + 4}-", None]
    assert (tmp_path / "model").read_bytes() == MODEL


@both
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([answer(200, MODEL[:-1] + b"x", ETag=f'"{name_of(MODEL)}"')], "the downloaded model has the SHA-256"),
        ([answer(200, MODEL, ETag='"7"')], "does not name a version"),
        ([answer(200, b"", ETag=f'"{name_of(MODEL)}"')], "the downloaded model has the SHA-256"),
        ([whole(sent=20), rest(21)], "another part of the model"),
        ([whole(sent=20), rest(20, NEWER)], "another part of the model"),
        ([rest(0)], "another part of the model"),
    ],
)
def test_bytes_of_another_model_are_never_taken(
    call: Caller, answers: list[bytes], reason: str, tmp_path: Path
) -> None:
    with scripted(*answers) as server, pytest.raises(UnexpectedAnswer, match=reason):
        call(server.url, "save_model", "t1", tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with scripted(*answers) as server, pytest.raises(UnexpectedAnswer, match=reason):
        call(server.url, "download_model", "t1")


@both
def test_a_file_that_is_no_model_is_told(call: Caller) -> None:
    with scripted(whole(b"no parameters")) as server, pytest.raises(UnexpectedAnswer, match="cannot be read"):
        call(server.url, "download_model", "t1")


@both
def test_a_model_that_is_too_large_is_not_loaded_to_its_end(call: Caller, tmp_path: Path) -> None:
    for method, target in [("download_model", []), ("save_model", [tmp_path / "model"])]:
        with scripted(whole()) as server, pytest.raises(UnexpectedAnswer, match="pass a larger max_bytes"):
            call(server.url, method, "t1", *target, max_bytes=50)


@both
@pytest.mark.parametrize("kind", ["arrays", "file"])
def test_an_upload_is_sent_whole_again_where_its_answer_got_lost(call: Caller, kind: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(MODEL)
    model = {"w": np.arange(6, dtype=np.float32).reshape(2, 3)} if kind == "arrays" else file
    with scripted(b"", MISSING) as server, pytest.raises(NotFound):
        call(server.url, "upload_model", "t1", model)
    assert [request.partition(b"\r\n\r\n")[2] for request in server.requests] == [MODEL, MODEL]
    assert server.header(1, "Content-Type") == "application/vnd.safetensors"


@both
def test_a_server_that_begins_anew_for_ever_is_given_up(call: Caller, tmp_path: Path) -> None:
    cuts = [whole(sent=2), whole(NEWER, sent=1)] * 5
    for method, target in [("download_model", []), ("save_model", [tmp_path / "model"])]:
        with scripted(*cuts) as server, pytest.raises(NoAnswer):
            call(server.url, method, "t1", *target)
        assert len(server.requests) <= 6
