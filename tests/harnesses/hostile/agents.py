"""List the hostile agents, each with a name and the moment at which it is hostile."""

from tests.harnesses.hostile.exchange import Hostile, honest
from tests.harnesses.hostile.framing import FRAMING, drip, flood, raw, silent
from tests.harnesses.hostile.impostors import PROOFS, SIGNATURES
from tests.harnesses.hostile.results import EVALUATE_RESULTS, FIT_RESULTS, MODEL_RESULTS

_HEALTHZ = {
    "healthz-drips": drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "healthz-hangs": silent(b""),
    "healthz-is-204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "healthz-is-endless": flood(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
}

FIT = [Hostile(f"h-{name}", "fit", conduct) for name, conduct in (FRAMING | FIT_RESULTS).items()]
EVALUATE = [Hostile(f"e-{name}", "evaluate", conduct) for name, conduct in EVALUATE_RESULTS.items()] + [
    Hostile(f"e-evaluate-{name}", "evaluate", FRAMING[name])
    for name in ("204", "hang", "dripping-chunks", "500-endless")
]
ENDLESS = "p-healthz-is-endless"
"""It says that it is able to train, by its status, and the server does not need the rest of its answer."""
MODEL = [Hostile(f"m-{name}", "model", conduct) for name, conduct in MODEL_RESULTS.items()]
HEALTHZ = [Hostile(f"p-{name}", "healthz", conduct) for name, conduct in _HEALTHZ.items()]
SIGNED = [Hostile(f"s-{name}", "fit", conduct) for name, conduct in SIGNATURES.items()]
UNPROVEN = [Hostile(f"s-{name}", "healthz", conduct) for name, conduct in PROOFS.items()]
REVOKED = Hostile("s-revoked", "fit", honest)
"""A device whose key was revoked. It signs rightly, and must be given no task."""
ENROLLED = tuple(hostile.name for hostile in (*SIGNED, *UNPROVEN, REVOKED))
"""The names of those that have enrolled, so that their calls and answers are signed."""

ALL = {hostile.name: hostile for hostile in (*FIT, *EVALUATE, *MODEL, *HEALTHZ, *SIGNED, *UNPROVEN, REVOKED)}
