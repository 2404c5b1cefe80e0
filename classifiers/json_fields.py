"""One JSON object, read strictly: known keys of the right kind, or a BadInput that says which one is wrong."""

from __future__ import annotations

import math
import re
from typing import Never, TypeVar, cast

from tiling.errors import BadInput

T = TypeVar("T")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Fields:
    """One JSON object whose keys are taken one by one; what is left over at the end was not known."""

    def __init__(self, value: object, where: str) -> None:
        """where: how messages name this object, such as PATH/bundle.json."""
        self._where = where
        if not isinstance(value, dict):
            self.refuse(f"an object is needed here, not {value!r:.80}")
        self._left = cast(dict[str, object], dict(value))

    def refuse(self, why: str) -> Never:
        """Raise BadInput that names this object."""
        raise BadInput(f"{self._where}: {why}")

    def value(self, key: str, hint: str = "") -> object:
        """Whatever stands under `key`. hint: what to write there when it is missing."""
        if key not in self._left:
            self.refuse(f"{key} is missing. {hint or 'Write the bundle again with write_bundle.'}")
        return self._left.pop(key)

    def take(self, key: str, kind: type[T]) -> T:
        """The value under `key`, which must be of `kind`."""
        value = self.value(key)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.refuse(f"{key} must be of type {kind.__name__}, not {value!r:.80}")
        return value

    def name(self, key: str) -> str:
        """A name that can be neither a path nor a URL: timm and smp would go to the network for "hf-hub:…"."""
        value = self.take(key, str)
        if not _NAME.fullmatch(value):
            self.refuse(f"{key} must be a plain name of letters, digits, '_', '.' and '-', not {value!r:.80}")
        return value

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of a few words."""
        value = self.take(key, str)
        if value not in allowed:
            self.refuse(f"{key} is {value!r:.80}, which is not one of {', '.join(allowed)}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in [low, high]."""
        return self._number(key, self.value(key), low, high)

    def optional_number(self, key: str, low: float, high: float) -> float | None:
        """A finite number in [low, high], or null."""
        value = self.value(key)
        return None if value is None else self._number(key, value, low, high)

    def optional_text(self, key: str) -> str | None:
        """A text, or null."""
        value = self.value(key)
        return None if value is None else Fields({key: value}, self._where).take(key, str)

    def numbers(self, key: str, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
        """A list of finite numbers in [low, high]."""
        return tuple(self._number(key, value, low, high) for value in self.take(key, list))

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        return int(self._number(key, self.take(key, int), low, high))

    def rows(self, key: str, width: int) -> tuple[tuple[float, ...], ...]:
        """A list of rows of `width` numbers in [0, 1]."""
        rows = [Fields({key: row}, self._where).numbers(key, 0, 1) for row in self.take(key, list)]
        if any(len(row) != width for row in rows):
            self.refuse(f"{key} needs {width} values per tile, one for each class")
        return tuple(rows)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of different, non-empty texts, at least one."""
        values = self.take(key, list)
        if not values or not all(isinstance(v, str) and v for v in values) or len(set(values)) != len(values):
            self.refuse(f"{key} must list different names, not {values!r:.80}")
        return tuple(values)

    def child(self, key: str, hint: str = "") -> Fields:
        """The object under `key`."""
        return Fields(self.value(key, hint), f"{self._where}: {key}")

    def children(self, key: str) -> list[Fields]:
        """The objects in the list under `key`."""
        return [Fields(value, f"{self._where}: {key} {i}") for i, value in enumerate(self.take(key, list))]

    def only_child(self, key: str) -> Fields:
        """The one object in the list under `key`."""
        found = self.children(key)
        if len(found) != 1:
            self.refuse(f"{key} lists {len(found)} objects; only models of one input and one output are supported")
        return found[0]

    def keys_left(self) -> tuple[str, ...]:
        """What is not taken yet."""
        return tuple(self._left)

    def has(self, key: str) -> bool:
        """Whether `key` is there."""
        return key in self._left

    def take_null(self, key: str) -> bool:
        """Whether null stands under `key`, which is then taken."""
        if self._left.get(key, key) is not None:
            return False
        del self._left[key]
        return True

    def done(self, *, unread: tuple[str, ...] = ()) -> None:
        """Refuse what was not taken. unread: keys that may stand there and change nothing."""
        unknown = sorted(set(self._left) - set(unread))
        if unknown:
            self.refuse(f"unknown keys {', '.join(unknown)}: misspelt, or written for another version of tilegate")

    def _number(self, key: str, value: object, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.refuse(f"{key} must be a finite number, not {value!r:.80}")
        if not low <= value <= high:
            self.refuse(f"{key} is {value}, outside {low} to {high}")
        return float(value)
