"""Model inputs from files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinyaot.targets import TinyaotError

if TYPE_CHECKING:
    from tinyaot.compiler.compiled import Inputs


def load_input(path: Path) -> Inputs:
    """Reads one set of inputs from a `.npy` or `.npz` file.

    Returns:
        One array, or for an `.npz` file the arrays by name, or in order if they have no names.

    Raises:
        TinyaotError: the file cannot be read, or holds something that is not a number.
    """
    hint = "give a .npy file, or an .npz file with an array for each model input"
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = dict(loaded)
    except OSError as error:
        reason = error.strerror or str(error)
        raise TinyaotError(f"cannot read the input {path}: {reason}", hint) from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TinyaotError(f"the input {path} is damaged, or not a NumPy file", hint) from error
    for array in arrays.values():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TinyaotError(f"the input {path} holds values that are not finite")
    # The second is what numpy.savez calls arrays that are given without names.
    if list(arrays) in ([""], [f"arr_{index}" for index in range(len(arrays))]):
        return list(arrays.values())
    return arrays
