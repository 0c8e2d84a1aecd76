"""One pick under way: what LiteLLM asked, who may serve it, how long it may wait.

It holds the call's own kwargs, into which the mark goes, and what LiteLLM's filter needs to be asked again: a call that
waited looks anew at what there is. What is done with it is strategy.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import choice
from typing import Any

from apikeyrouter.core.model import Request
from apikeyrouter.core.tokens import Measure
from apikeyrouter.litellm.compat import Deployment, Kwargs
from apikeyrouter.litellm.fleet import Crew

Asked = tuple[str, Any, Any, bool | None, Mapping[str, Any]]
"""Model, messages, input, specific deployment and what else LiteLLM's filter is asked with."""


def any_of(pool: Any) -> Deployment:
    """One deployment of those that LiteLLM's filter left, for a call that no limit of ours applies to."""
    chosen: Deployment = pool if isinstance(pool, dict) else choice(pool)
    return chosen


class Pick:
    """One question to the engine, with what is needed to answer LiteLLM.

    `heard`: LiteLLM gave the call's kwargs along, so its end will be told. Where it does not (embeddings without a loop
    in 1.100), the estimate is all that is ever known. `blocking`: asked by a thread without a loop of its own.
    `wait` is in seconds, `until` where that ends; `began` when the call was first asked for, in the engine's time.
    """

    __slots__ = (
        "asked",
        "began",
        "blocking",
        "crew",
        "heard",
        "kwargs",
        "measure",
        "request",
        "trace",
        "until",
        "wait",
    )

    def __init__(
        self, asked: Asked, crew: Crew, request: Request, measure: Measure | None, kwargs: Kwargs, began: float
    ) -> None:
        self.asked = asked
        self.crew = crew
        self.request = request
        self.measure = measure
        self.kwargs = kwargs
        self.began = began
        self.wait = 0.0
        self.until = began
        self.heard = True
        self.blocking = False
        self.trace = request.correlation_id or ""

    def read(self, crew: Crew) -> None:
        """Go on with other candidates."""
        self.crew = crew
        self.request.among = crew.among
