"""A model as it is uploaded, and its name in the store."""

import hashlib

import numpy as np

from app.wire.codec import encode

MODEL = encode({"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.float32)})
SHA256 = hashlib.sha256(MODEL).hexdigest()
