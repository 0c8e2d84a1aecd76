"""What a pick leaves in LiteLLM's hands: the deployment, the mark in the metadata, the wish for a stream's usage.

LiteLLM mutates and copies these dicts on its way; each function here says which of them it may touch, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apikeyrouter.core.ledger import Lease
from apikeyrouter.core.measure import CAPS
from apikeyrouter.litellm.compat import Deployment, Kwargs
from apikeyrouter.litellm.fleet import Enrolled
from apikeyrouter.litellm.joining import Member
from apikeyrouter.litellm.marks import KEY, Attempt, Mark, attempt_of, place_of


def dressed(member: Member, one: Enrolled) -> Deployment:
    """The deployment for LiteLLM; with a further key, a copy that has its api_key."""
    deployment = one.deployment
    if member.secret is None:
        return deployment
    params = {**deployment["litellm_params"], "api_key": member.secret.reveal()}
    return {**deployment, "litellm_params": params}


def remember(kwargs: Kwargs, attempt: Attempt, deployment: Deployment) -> None:
    """Put the mark where LiteLLM carries it.

    In the SDK the metadata is the caller's own dict, which may outlive the call or be shared by several: the mark goes
    into a copy, and what LiteLLM itself would have written, its records of retries, into the original.
    """
    place = place_of(kwargs)
    metadata = kwargs.get(place) or {}
    before = metadata.get(KEY)
    if "litellm_logging_obj" not in kwargs or (isinstance(before, Mark) and before.attempt.open):
        if metadata:
            metadata["model_info"] = deployment["model_info"]
            metadata["deployment"] = deployment["litellm_params"]["model"]
        metadata = dict(metadata)
    metadata[KEY] = Mark.of(attempt)
    kwargs[place] = metadata


def ask_usage(kwargs: Kwargs) -> None:
    """Have the provider tell a stream's usage: in the body, not as an option of LiteLLM, so that no caller sees it.

    Options of a shape that nobody knows are LiteLLM's to refuse, or the provider's.
    """
    own, body = kwargs.get("stream_options") or {}, kwargs.get("extra_body") or {}
    given = body.get("stream_options") or {} if isinstance(body, Mapping) else None
    if not isinstance(own, Mapping) or not isinstance(given, Mapping) or own.get("include_usage"):
        return
    kwargs["extra_body"] = {**body, "stream_options": {**own, **given, "include_usage": True}}


def bound_answer(kwargs: Kwargs, operation: str, tokens: int) -> None:
    """Under a hard limit on cost: let no answer be longer than what is held for it, whatever else the call says."""
    name = "max_output_tokens" if operation == "responses" else "max_tokens"
    words = {name, *CAPS.get(operation, ())}
    for word in words & kwargs.keys():
        del kwargs[word]
    kwargs[name] = tokens
    body, dropped = kwargs.get("extra_body"), kwargs.get("additional_drop_params")
    if isinstance(body, Mapping) and not words.isdisjoint(body):
        kwargs["extra_body"] = {word: value for word, value in body.items() if word not in words}
    if isinstance(dropped, list) and name in dropped:
        kwargs["additional_drop_params"] = [word for word in dropped if word != name]


def keep_price(kwargs: Kwargs, operation: str, tokens: int | None) -> None:
    """Under a hard limit on cost: what is held is the price of the model picked, for an answer of so many tokens."""
    body = kwargs.get("extra_body")
    if isinstance(body, Mapping) and "model" in body:
        kwargs["extra_body"] = {word: value for word, value in body.items() if word != "model"}
    if tokens is not None:
        bound_answer(kwargs, operation, tokens)


def sent(kwargs: Mapping[str, Any] | None) -> None:
    attempt = attempt_of(kwargs)
    if attempt is not None:
        attempt.sent = True


def tell(response: Any, attempt: Attempt) -> None:
    """Leave decision, key and wait where an SDK caller finds what LiteLLM knows of an answer."""
    hidden = getattr(response, "_hidden_params", None)
    if isinstance(hidden, dict):
        hidden.setdefault("apikeyrouter", told(attempt.lease))


def told(lease: Lease) -> dict[str, object]:
    """What a caller is told about a pick: the decision's id for explain(), the key's id, seconds waited."""
    return {"decision_id": lease.decision.id, "key": lease.key_id, "waited_s": lease.decision.waited_s}
