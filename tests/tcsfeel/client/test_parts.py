"""A download on its way into a file, in a directory that others write into."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tcsfeel.client import Client, Invalid
from tcsfeel.wire.codec import encode
from tests.tcsfeel.client.callers import QUICK, Caller, both
from tests.tcsfeel.client.servers import answer, scripted
from tests.tcsfeel.client.test_parameters import MISSING, MODEL, NEWER, name_of, rest, whole

PART = f".model.{name_of(MODEL)}.part"


def _link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def _second_name(place: Path, victim: Path) -> None:
    place.hardlink_to(victim)


@both
@pytest.mark.parametrize("planted", [_link, _second_name])
def test_a_link_in_place_of_a_part_is_not_followed(
    call: Caller, planted: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(MODEL[:20])
    planted(tmp_path / PART, victim)
    with scripted(lambda request: rest(20) if b"\r\nrange:" in request.lower() else whole()) as server:
        call(server.url, "save_model", "t1", tmp_path / "model")
    assert victim.read_bytes() == MODEL[:20]
    assert (tmp_path / "model").read_bytes() == MODEL
    assert not (tmp_path / "model").is_symlink()


@both
@pytest.mark.parametrize("planted", [os.mkfifo, os.mkdir, lambda place: place.symlink_to("/nowhere/at/all")])
def test_what_is_no_file_in_place_of_a_part_is_left_alone(
    call: Caller, planted: Callable[[Path], None], tmp_path: Path
) -> None:
    planted(tmp_path / PART)
    with scripted(whole()) as server:
        call(server.url, "save_model", "t1", tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == MODEL
    assert {path.name for path in tmp_path.iterdir()} == {"model", PART}


def test_downloads_of_the_same_file_do_not_write_into_each_other(tmp_path: Path) -> None:
    target, model = tmp_path / "model", encode({"w": np.arange(1000, dtype=np.float32)})
    begun, done = threading.Event(), threading.Event()

    def rest_when_the_other_is_done(_: bytes) -> bytes:
        begun.set()
        done.wait(20)
        return rest(20, model)

    def first() -> None:
        with scripted(whole(model, sent=20), rest_when_the_other_is_done) as server, Client(server.url) as client:
            client.save_model("t1", target)
            sizes.append(target.stat().st_size)

    sizes: list[int] = []
    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(20)
    with scripted(whole(model)) as server, Client(server.url, patience=QUICK) as client:
        client.save_model("t1", target)
    assert target.read_bytes() == model
    done.set()
    thread.join(20)
    assert sizes == [len(model)]
    assert target.read_bytes() == model
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@both
def test_of_several_parts_the_newest_is_taken_up_and_none_is_left(call: Caller, tmp_path: Path) -> None:
    older = tmp_path / f".model.{name_of(NEWER)}.part"
    older.write_bytes(NEWER[:30])
    os.utime(older, (1, 1))
    (tmp_path / PART).write_bytes(MODEL[:20])
    with scripted(rest(20)) as server:
        call(server.url, "save_model", "t1", tmp_path / "model")
    assert server.header(0, "Range") == "bytes=20-"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@both
def test_a_server_that_always_refuses_the_range_is_told(call: Caller, tmp_path: Path) -> None:
    for method, target in [("download_model", []), ("save_model", [tmp_path / "model"])]:
        with scripted(answer(416), answer(416)) as server, pytest.raises(Invalid, match="416"):
            call(server.url, method, "t1", *target)


@both
def test_a_directory_is_no_target(call: Caller, tmp_path: Path) -> None:
    with scripted(MISSING) as server, pytest.raises(IsADirectoryError):
        call(server.url, "save_model", "t1", tmp_path)
    assert not server.requests
