"""Pickles that some data sets are published as, read without running what may be in them."""

import io
import pickle
from pathlib import Path
from typing import Any

from reprise.errors import DataError

# What NumPy's arrays are pickled with, by names of its version 1 and 2; none of them runs code.
ARRAYS = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Plain(pickle.Unpickler):
    """Refuses every name that is not on the list, before anything of it is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no plain data")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read(path: Path, encoding: str = "latin1") -> Any:
    """Return a pickle of lists, dicts, strings, numbers and arrays of NumPy.

    ``encoding`` is that of Python 2's strings. Raises DataError naming the file where it is
    damaged, or asks for anything else.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes()), encoding=encoding).load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # damaged pickles raise errors of many kinds
        raise DataError(f"{path}: not a pickle of plain data: {error}") from None
