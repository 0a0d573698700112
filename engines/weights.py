"""What torch, and the packages that are built on it, raise over weights or a text that they cannot take."""

from __future__ import annotations

import pickle
import zipfile

FAILURES: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    ImportError,
    OSError,
    EOFError,
    MemoryError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""They unpickle, unzip, and index into whatever they find. The library of tokens raises a bare ``Exception`` besides."""
