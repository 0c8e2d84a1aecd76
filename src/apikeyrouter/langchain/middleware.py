"""`ApiKeyRouterMiddleware`: the model of each call of an agent is one of a pool, chosen like every other request's key.

Unlike the chat model, this gives the middleware that stands further in the model's real class: what asks
`isinstance(request.model, ChatAnthropic)` works. Put it first. It does not send; the handler does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware
from langchain.agents.middleware.types import ModelRequest, ModelResponse
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables.config import ensure_config

from apikeyrouter.facade import ApiKeyRouter
from apikeyrouter.langchain.attempts import Journey
from apikeyrouter.langchain.bindings import ToolSet
from apikeyrouter.langchain.delegated import DelegatedLine
from apikeyrouter.langchain.deployments import Models, deployments_of, enrol
from apikeyrouter.langchain.inward import OURS
from apikeyrouter.langchain.listening import listening
from apikeyrouter.langchain.options import RoutingOptions, taken


class ApiKeyRouterMiddleware(AgentMiddleware[Any, Any, Any]):
    """`create_agent(model, tools, middleware=[ApiKeyRouterMiddleware([...]), ...])`.

    `models` as for `ChatApiKeyRouter.from_models`; the agent's own model is only a name. `options` are what every call
    is routed by; a run says its own in `configurable["apikeyrouter"]`.
    """

    def __init__(self, models: Models, *, router: ApiKeyRouter | None = None, **options: Any) -> None:
        super().__init__()
        self.router = router or ApiKeyRouter(log=False)
        self.options = RoutingOptions.of(options, "ApiKeyRouterMiddleware()")
        deployments = deployments_of(models, {})
        enrol(self.router.enrolment, deployments)
        self._line = DelegatedLine(self.router, deployments)

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Send by the best model, on another one while that may help."""
        journey = self._journey(request)
        while True:
            model = journey.take_now()
            try:
                with listening(journey.ear):
                    response = handler(request.override(model=model))
            except BaseException as error:  # noqa: BLE001 - failed_now raises what is not ours to bear
                journey.failed_now(error)
                continue
            return _settled(journey, response)

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """The same."""
        journey = self._journey(request)
        while True:
            model = await journey.take()
            try:
                with listening(journey.ear):
                    response = await handler(request.override(model=model))
            except BaseException as error:  # noqa: BLE001 - failed raises what is not ours to bear
                await journey.failed(error)
                continue
            return _settled(journey, response)

    def _journey(self, request: ModelRequest[Any]) -> Journey:
        messages = [*([request.system_message] if request.system_message else []), *request.messages]
        params: dict[str, Any] = {**request.model_settings}
        if request.tools:
            params["tools"] = ToolSet(request.tools, {})
        options = taken({}, ensure_config(), affine=True).over(self.options)
        return Journey(self._line, messages, params, options, streaming=False)


def _settled(journey: Journey, response: Any) -> Any:
    """The response, its lease settled by what its message says was used."""
    inner = getattr(response, "model_response", response)
    found = inner.result if isinstance(inner, ModelResponse) else [inner]
    message = next((one for one in reversed(found) if isinstance(one, AIMessage)), None)
    journey.settle(ChatResult(generations=[ChatGeneration(message=message)] if message is not None else []))
    if message is not None:
        message.response_metadata = {**message.response_metadata, OURS: journey.told()[OURS]}
    return response
