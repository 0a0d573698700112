"""Several texts in one request: what holds for all of them, and what each says for itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agent.gateway.errors import Refused
from agent.gateway.fields import BLOCKS, Body
from agent.gateway.wanted import canonical

PARALLEL = "parallel_processing"
TEXTS = ("text", "input")


class Batch(Body):
    """Several texts. Whatever a body of `/synthesize` may hold beside its text may stand here too, and holds for all of them."""

    texts: list[str] | None = None
    """What is said, one after the other."""
    items: list[dict[str, Any]] | None = None
    """Bodies as `/synthesize` takes them, in place of ``texts``."""
    options: dict[str, Any] | None = None
    """What holds for all of them, where one does not say otherwise."""
    parallel_processing: bool | None = None
    """Whether some are made at the same time; the order of the results stays."""
    batch_config: dict[str, Any] | None = None
    """The same as ``options``; ``parallel_processing`` may stand in it, too."""

    @property
    def is_parallel(self) -> bool:
        return self.parallel_processing is not False and (self.batch_config or {}).get(PARALLEL) is not False

    def bodies(self, most: int) -> list[dict[str, Any]]:
        """One for each text. Raises :exc:`Refused`."""
        if (self.texts is None) == (self.items is None):
            raise Refused("field_required", "texts: either `texts` or `items` is a list of what is said", 422, field="texts")
        for name in TEXTS:
            if name in (self.model_extra or {}):
                raise Refused("conflicting_fields", f"{name}: a batch has `texts` or `items`", 422, field=name)
        items = [{"text": text} for text in self.texts] if self.texts is not None else list(self.items or ())
        if not items:
            raise Refused("too_few", "texts: there is nothing to say", 422, field="texts")
        if len(items) > most:
            name = "texts" if self.texts is not None else "items"
            raise Refused("batch_too_large", f"{name}: a batch holds at most {most} texts, this one {len(items)}", 413, field=name)
        shared = self._shared()
        return [_with(shared, item) for item in items]

    def _shared(self) -> dict[str, Any]:
        config = {name: value for name, value in (self.batch_config or {}).items() if name != PARALLEL}
        blocks = {"options": self.options, "batch_config": config}
        return {**{name: block for name, block in blocks.items() if block}, **(self.model_extra or {})}


def _with(shared: Mapping[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """What an item says for itself, by whatever name, goes before what holds for all."""
    own = {canonical(name) for name in _names(item)}
    found = dict(item)
    for name, value in shared.items():
        if name in BLOCKS and isinstance(value, Mapping):
            mine = item.get(name)
            if mine is None or isinstance(mine, Mapping):
                found[name] = {**{key: one for key, one in value.items() if canonical(key) not in own}, **(mine or {})}
        elif canonical(name) not in own:
            found[name] = value
    return found


def _names(item: Mapping[str, Any]) -> Iterator[str]:
    for name, value in item.items():
        if name in BLOCKS and isinstance(value, Mapping):
            yield from value
        else:
            yield name
