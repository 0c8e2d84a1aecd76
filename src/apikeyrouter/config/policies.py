"""Policies of a configuration, compiled once to find every mistake. What they mean is core/policy.py.

Its sentences name the policy and the field; here they get the field's line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from apikeyrouter.config.reader import Reader
from apikeyrouter.config.tree import Node
from apikeyrouter.core.policy import Policy, Predicate, compiled
from apikeyrouter.errors import ConfigurationError, InvalidConfigurationError

_EXAMPLE: Final = "{eu-data: {when: \"request.tags.region == 'eu'\", require: {tags.region: eu}}}"
_TEXTS: Final = ("name", "scope", "timezone", "type")
_CALLED: Final[Mapping[str, str]] = {
    "time zone": "timezone",
    "max_attempts": "actions",
    "failover": "actions",
    "cooldown": "actions",
}
"""What sentences call a field when they do not use its own name."""


def read_policies(reader: Reader, node: Node | None) -> tuple[Policy, ...]:
    """The rules, in the order of the file."""
    found = [_policy(reader, name, each) for name, each in reader.mapping(node, _EXAMPLE).items()]
    return tuple(policy for policy in found if policy is not None)


def _policy(reader: Reader, name: str, node: Node) -> Policy | None:
    given = reader.mapping(node, _EXAMPLE)
    before = len(reader.problems)
    rule = {word: child.plain() for word, child in given.items()}
    rule.update({word: reader.text(given[word], word) for word in _TEXTS if word in given})
    if len(reader.problems) > before or not isinstance(node.value, dict | None):
        return None
    try:
        policy = Policy.of(name, rule)
        compiled(policy, _expression)
    except InvalidConfigurationError as error:
        for sentence in error.problems:
            reader.add_error(_meant(node, given, sentence), InvalidConfigurationError(sentence))
        return None
    except ConfigurationError as error:
        reader.add_error(node, error)
        return None
    return policy


def _meant(node: Node, given: Mapping[str, Node], sentence: str) -> Node:
    """The field a sentence is about."""
    for called, word in (*_CALLED.items(), *((name, name) for name in given)):
        if word in given and re.search(
            rf"(?:, |has (?:the |a |an )?(?:unknown |field )*|'){re.escape(called)}\b", sentence
        ):
            return given[word]
    return node


def _expression(source: str) -> Predicate:
    from apikeyrouter.cel import compile_expression  # the CEL library is for those who write expressions

    return compile_expression(source)
