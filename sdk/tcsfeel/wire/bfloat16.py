"""Give numpy's dtype of bfloat16, if the extra ``tcsfeel[bfloat16]`` is installed."""

from typing import Any

import numpy as np

try:
    import ml_dtypes
except ImportError:
    BFLOAT16: np.dtype[Any] | None = None
else:
    BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

MISSING = "bfloat16 needs the package ml-dtypes: pip install 'tcsfeel[bfloat16]'"


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Tell whether a dtype is bfloat16, which numpy itself knows only as the type of some extension."""
    return BFLOAT16 is not None and dtype == BFLOAT16
