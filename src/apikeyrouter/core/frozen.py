"""An immutable mapping that can be copied and pickled, which `types.MappingProxyType` cannot.

Requests, budgets and errors go through queues, process pools and `dataclasses.asdict`, and a default of theirs must not
be what breaks there. It is a dict, so reading costs what reading a dict costs.
"""

from __future__ import annotations

from typing import NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Frozen(dict[K, V]):
    """A dict that is complete when it is made; every change raises TypeError."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this mapping is immutable; make a dict of it first")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type[Frozen[K, V]], tuple[dict[K, V]]]:
        return type(self), (dict(self),)

    def __copy__(self) -> Frozen[K, V]:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Frozen[K, V]:
        from copy import deepcopy

        return type(self)({key: deepcopy(value, memo) for key, value in self.items()})
