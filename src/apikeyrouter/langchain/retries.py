"""Failed attempts as LangChain tells of them: one `retry` event in the run for each attempt that another followed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from tenacity import RetryCallState, Retrying

from apikeyrouter.errors import ProviderError
from apikeyrouter.reply import FailedAttempt

Manager: TypeAlias = "CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None"


def tell(manager: Manager, failed: Iterable[FailedAttempt]) -> None:
    """Tell a run of its failed attempts."""
    if isinstance(manager, CallbackManagerForLLMRun):
        for number, attempt in enumerate(failed, start=1):
            manager.on_retry(_state(number, attempt))


async def atell(manager: Manager, failed: Iterable[FailedAttempt]) -> None:
    """Tell an asynchronous run of its failed attempts."""
    if isinstance(manager, AsyncCallbackManagerForLLMRun):
        for number, attempt in enumerate(failed, start=1):
            await manager.on_retry(_state(number, attempt))


def _state(number: int, attempt: FailedAttempt) -> RetryCallState:
    status = f" with status {attempt.status}" if attempt.status else ""
    error = ProviderError(f"key {attempt.key} of {attempt.provider} failed{status} ({attempt.kind})")
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = number
    state.set_exception((ProviderError, error, None))
    return state
