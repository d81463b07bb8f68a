"""Options that a function hands on to another stand in one signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
KEYWORD, REST = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD


def with_options_of(target: Callable, without: tuple[str, ...] = (), **defaults: Any) -> Callable:
    """A decorator for `function(..., **options)` that hands its options on to `target`.

    The function then takes as keywords, and shows in its signature, all parameters of `target` that have a
    default and that it neither has itself nor leaves out with `without`. `defaults` are those in which it
    differs from `target`. Calls with any other name raise TypeError.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        own = [p for p in inspect.signature(function).parameters.values() if p.kind != REST]
        taken = {*without, *(p.name for p in own)}
        theirs = inspect.signature(target).parameters.values()
        further = [
            p.replace(kind=KEYWORD, default=defaults.get(p.name, p.default))
            for p in theirs
            if p.default is not p.empty and p.name not in taken
        ]
        signature = inspect.Signature([*own, *further, *(p for p in theirs if p.kind == REST)])

        @functools.wraps(function)
        def wrapper(*args, **options):
            try:
                signature.bind(*args, **options)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(*args, **defaults | options)

        wrapper.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature reads
        return wrapper

    return decorate
