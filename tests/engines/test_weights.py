from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.weights import FAILURES


@pytest.mark.parametrize("read", [lambda path: pickle.loads(path.read_bytes()), zipfile.ZipFile])
@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps(["weights"])[:-2], b"PK\x03\x04 cut"])
def test_whatever_a_file_that_holds_none_makes_of_its_readers_is_among_them(
    tmp_path: Path, read: Callable[[Path], object], content: bytes
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(FAILURES):
        read(path)
