"""Every setting with its default, its bounds and its meaning, taken from the code that declares them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.config import DERIVED, PREFIX, Settings

HIDDEN = "(set)"
"""Shown for a secret that is there."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One setting."""

    key: str
    """``node.languages``."""
    default: object
    bounds: str
    meaning: str
    is_secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.upper().replace(".", "__")

    def is_default(self, settings: Settings) -> bool:
        return self._value(settings) == self.default

    def _value(self, settings: Settings) -> object:
        return functools.reduce(getattr, self.key.split("."), settings)

    def shown(self, settings: Settings) -> str:
        """Its value in effect; secrets do not show."""
        value = self._value(settings)
        return HIDDEN if self.is_secret and value else plain(value)


def rows() -> tuple[Row, ...]:
    """All settings, in the order of their declaration."""
    return tuple(_walk(Settings(), ""))


def markdown() -> str:
    """The table for docs/operations.md."""
    lines = ["| key | default | may be | meaning |", "|---|---|---|---|"]
    lines += [f"| `{row.key}` | {_code(plain(row.default))} | {row.bounds} | {row.meaning} |" for row in rows()]
    return "\n".join(lines) + "\n"


def plain(value: object) -> str:
    """As it would be written in the environment."""
    if isinstance(value, tuple):
        return ",".join(map(plain, value))
    if isinstance(value, Mapping):
        return ",".join(f"{name}={plain(item)}" for name, item in value.items())
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    text = "" if value is None or value == {} else str(value)
    home = str(Path.home())
    return "~" + text[len(home) :] if isinstance(value, Path) and text.startswith(home) else text


def _walk(section: Any, place: str) -> Iterator[Row]:
    if isinstance(section, BaseModel):
        for name, field in type(section).model_fields.items():
            yield from _field(f"{place}{name}", getattr(section, name), field.annotation, field.metadata, field.description, field.repr)
    else:
        hints, meanings = get_type_hints(type(section), include_extras=True), _docstrings(type(section))
        for item in dataclasses.fields(section):
            kind, *extras = get_args(hints[item.name]) if hasattr(hints[item.name], "__metadata__") else (hints[item.name],)
            metadata = [bound for extra in extras for bound in (extra.metadata if isinstance(extra, FieldInfo) else [extra])]
            yield from _field(f"{place}{item.name}", getattr(section, item.name), kind, metadata, meanings.get(item.name), item.repr)


def _field(key: str, default: Any, kind: Any, metadata: list[Any], meaning: str | None, is_shown: bool) -> Iterator[Row]:
    if key in DERIVED:
        return
    if isinstance(default, BaseModel) or (dataclasses.is_dataclass(default) and not isinstance(default, type)):
        yield from _walk(default, f"{key}.")
    else:
        text = " ".join((meaning or "").replace("``", "`").split())
        yield Row(key, default, _bounds(kind, metadata), text, is_secret=not is_shown)


def _bounds(kind: Any, metadata: list[Any]) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    signs = {Ge: "≥ {}", Gt: "> {}", Le: "≤ {}", Lt: "< {}"}
    found = [
        sign.format(plain(getattr(bound, type.__name__.lower())))
        for type, sign in signs.items()
        for bound in metadata
        if isinstance(bound, type)
    ]
    return ", ".join(found) or {float: "a number", int: "a whole number"}.get(kind, "")


def _docstrings(kind: type) -> dict[str, str]:
    """What stands under each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
