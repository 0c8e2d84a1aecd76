"""`handler`: one line in a LiteLLM Proxy's config.yaml, and the Proxy routes by the engine.

    litellm_settings:
      callbacks: ["apikeyrouter.litellm.proxy.handler"]
      apikeyrouter: {max_wait: 30, budgets: {...}, objective: cost}      # optional; or the path of a configuration file

LiteLLM imports the handler before its Router exists, may replace the Router, and drops a strategy when another one is
chosen in its dashboard. So the handler looks every second, and before every call, whether it is the Router's strategy,
and becomes it again. There is one in a process; each worker process has its own, with its own counters.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakValueDictionary

from apikeyrouter.core.ledger import Lease
from apikeyrouter.errors import ApiKeyRouterError
from apikeyrouter.litellm import compat
from apikeyrouter.litellm.compat import Deployment
from apikeyrouter.litellm.marks import KEY, Mark, attempt_of, place_of
from apikeyrouter.litellm.picks import Pick
from apikeyrouter.litellm.routes import mount
from apikeyrouter.litellm.shared import SHARED
from apikeyrouter.litellm.strategy import _PROXY_ApiKeyRoutingStrategy
from apikeyrouter.litellm.workers import warning

EVERY_S: Final = 1.0
_SERVER: Final = "litellm.proxy.proxy_server"
_log = logging.getLogger("apikeyrouter.litellm")


class _PROXY_ApiKeyRouterInstalled(_PROXY_ApiKeyRoutingStrategy):  # noqa: N801
    """The strategy of whatever Router the Proxy has, from its first call to its last."""

    def __init__(self) -> None:
        super().__init__(None)
        self._attached_to: Any = None
        self._calls: WeakValueDictionary[str, Mark] = WeakValueDictionary()
        self._watcher: asyncio.Task[None] | None = None
        self._mounted = False
        self._watch()

    def ensure(self) -> None:
        """Be the strategy of the Proxy's Router now. Raises ConfigurationError for a configuration that is wrong."""
        server = sys.modules.get(_SERVER)
        router = getattr(server, "llm_router", None)
        if router is None:
            return
        if not self.started:
            self.start(SHARED.get(), SHARED.max_wait)
            if (several := warning()) is not None:
                _log.warning(several)
        if router is self._attached_to:
            compat.attach(router, self)
            return
        self.attach(router)
        self._attached_to = router

    def _watch(self) -> None:
        """Look once a second from now on, where a loop runs; routes are mounted with the first look."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._watcher = loop.create_task(self._look_on())

    async def _look_on(self) -> None:
        told = ""
        while True:
            self._mount()
            try:
                self.ensure()
                if self._attached_to is not None:
                    self.refresh(self._attached_to)
            except ApiKeyRouterError as error:
                if str(error) != told:
                    told = str(error)
                    _log.error("The Proxy routes no call until this is mended: %s", error)
            await asyncio.sleep(EVERY_S)

    def _mount(self) -> None:
        server = sys.modules.get(_SERVER)
        if not self._mounted and server is not None and hasattr(server, "app"):
            mount(server, lambda: self.engine)
            self._mounted = True

    # -- LiteLLM's calls, beside the strategy's own -------------------------------------------------------------------

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: Any, call_type: Any) -> None:
        """Before every call: a Router that was replaced, or given another strategy, is ours again."""
        if self._watcher is None or self._watcher.done():
            self._watch()
        self.ensure()

    def _granted(self, pick: Pick, lease: Lease) -> Deployment:
        deployment = super()._granted(pick, lease)
        call, mark = pick.kwargs.get("litellm_call_id"), (pick.kwargs.get(place_of(pick.kwargs)) or {}).get(KEY)
        if isinstance(call, str) and isinstance(mark, Mark):
            self._calls[call] = mark
        return deployment

    async def async_post_call_response_headers_hook(
        self,
        data: Mapping[str, Any],
        user_api_key_dict: Any,
        response: Any,
        request_headers: Any = None,
        litellm_call_info: Any = None,
    ) -> dict[str, str]:
        """Which decision served the call, with which key, after which wait."""
        mark = self._calls.get(str(data.get("litellm_call_id")))
        attempt = mark.attempt if mark is not None else attempt_of(data)
        if attempt is None:
            return {}
        lease = attempt.lease
        return {
            "x-apikeyrouter-decision": lease.decision.id,
            "x-apikeyrouter-key": lease.key_id,
            "x-apikeyrouter-wait": f"{lease.decision.waited_s:.3f}",
        }


handler = _PROXY_ApiKeyRouterInstalled()
