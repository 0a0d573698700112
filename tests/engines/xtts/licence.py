"""The licence of the weights, accepted as `voicebooth models install` does it."""

from pathlib import Path

from engines.catalog import Catalog, known_models
from engines.xtts.files import ID


def accept_licence(place: Path) -> None:
    """For the model in this folder, which is made."""
    place.mkdir(parents=True, exist_ok=True)
    Catalog(place.parent).accept(known_models()[ID])
