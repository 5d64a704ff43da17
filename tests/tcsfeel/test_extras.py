"""What a device can do that has installed none of the extras."""

import subprocess
import sys
from pathlib import Path

import tcsfeel

ROOT = Path(__file__).parents[2]
WITHOUT = """
import sys
for name in ("ml_dtypes", "backports.zstd", "backports", "compression", "scipy", "networkx", "networkit",
             "nacl", "pydantic", "pydantic_core", "starlette"):
    sys.modules[name] = None
"""


def run(program: str) -> str:
    done = subprocess.run(  # noqa: S603  (this interpreter and a program of ours)
        [sys.executable, "-c", WITHOUT + program],
        cwd=ROOT / "sdk",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_tensor_of_bfloat16_names_the_extra_that_it_needs() -> None:
    shown = run("""
import json, struct
from tcsfeel.wire.codec import decode
from tcsfeel.wire.errors import WireError
text = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
text += b" " * (-len(text) % 8)
try:
    decode(memoryview(struct.pack("<Q", len(text)) + text + bytes(2)))
except WireError as error:
    print(error)
""")
    assert "bfloat16 needs the package ml-dtypes: pip install 'tcsfeel[bfloat16]'" in shown


def test_an_update_is_not_offered_in_zstd() -> None:
    assert run("from tcsfeel.wire.compression import accepts_zstd; print(accepts_zstd('zstd'))") == "False\n"


def test_updates_of_other_types_are_encoded_and_aggregated() -> None:
    shown = run("""
import numpy as np
from tcsfeel.aggregation import check_model
from tcsfeel.wire.codec import decode, encode
parameters, _ = decode(memoryview(encode({"w": np.ones(3, np.float32)})))
check_model(parameters)
print(parameters["w"].sum())
""")
    assert shown == "3.0\n"


def test_what_needs_an_extra_names_it() -> None:
    shown = run("""
import tcsfeel
for name in ("TopologyOptimizer", "ClientNode"):
    try:
        getattr(tcsfeel, name)
    except ImportError as error:
        print(error)
""")
    assert shown.splitlines() == [
        f"{name} needs the package scipy: pip install 'tcsfeel[selection]'"
        for name in ("TopologyOptimizer", "ClientNode")
    ]


def test_no_command_of_the_library_needs_an_extra() -> None:
    shown = run("""
import contextlib
from tcsfeel.cli import main
for words in (["agent", "--help"], ["watch", "t1", "--key", "k", "--server", "http://127.0.0.1:9"]):
    sys.argv = ["tcsfeel", *words]
    sys.stderr = sys.stdout
    with contextlib.suppress(SystemExit):
        main()
""")
    assert "tcsfeel agent my_trainer:MyTrainer" in shown
    assert shown.splitlines()[-1].startswith("tcsfeel: http://127.0.0.1:9 does not answer")


def test_what_is_loaded_on_first_use_is_listed_before() -> None:
    assert set(tcsfeel.__all__) <= set(dir(tcsfeel))


def test_an_identity_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    shown = run(f"""
from pathlib import Path
from tcsfeel.identity import Identity, verify
path = Path({str(tmp_path / "identity")!r})
for attempt in (lambda: Identity.load_or_make(path), lambda: verify("A" * 43, bytes(64), b"")):
    try:
        attempt()
    except ImportError as error:
        print(error, path.exists())
""")
    assert shown == "an identity needs the package pynacl: pip install 'tcsfeel[identity]' False\n" * 2
