"""Expressions evaluated: what they mean, what they remember, what they cost at worst, how they fail."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.cel import MEMORY, Predicate, compile_expression
from apikeyrouter.core.expression import ExpressionError
from apikeyrouter.core.facts import FIELDS, Facts
from apikeyrouter.core.policy import PredicateError

pytest.importorskip("cel", reason="the CEL library is not installed: pip install 'apikeyrouter[policy]'")


def facts(**roots: Mapping[str, object]) -> Facts:
    return {root: roots.get(root, {}) for root in FIELDS}


def answer(source: str, **roots: Mapping[str, object]) -> bool:
    return compile_expression(source)(facts(**roots))


EU = {"tags": {"region": "eu", "team": "x"}, "model": "gpt-4o", "needs": frozenset({"tools"}), "tenant": "acme"}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("request.tags.region == 'eu'", True),
        ("request.tags.region in ['us', 'eu']", True),
        ("request.tags.nosuch == 'eu'", False),
        ("request.tags.nosuch != 'eu'", True),
        ("request.tags.nosuch == ''", True),
        ("has(request.tags.region)", True),
        ("has(request.tags.nosuch)", False),
        ("!has(request.tags.nosuch) || request.tags.nosuch == 'x'", True),
        ("has(request.tags.nosuch) || size(request.tags) == 2", True),
        ("'tools' in request.needs", True),
        ("request.needs.exists(n, n.startsWith('to'))", True),
        ("request.tags.exists(k, k == 'team')", True),
        ("request.tags.team == 'x' && request.tags.exists(k, k == 'region')", True),
        ("request.model.startsWith('gpt') && request.model.contains('4')", True),
        ("request.model.matches('^gpt-[0-9]o$')", True),
        ("key.tier == 2", False),
        ("key.metadata.a.b == 'c'", False),
        ("1 < 2.5", True),
        ("request.tenant == 'acme' ? true : false", True),
    ],
)
def test_meaning(source: str, holds: bool) -> None:
    assert answer(source, request=EU) is holds
    assert answer(source, request=EU) is holds


def test_metadata_is_free_json() -> None:
    key = {"metadata": {"owner": {"level": 3, "names": ["a", "b"]}, "flag": True}}
    assert answer("key.metadata.owner.level > 2 && 'b' in key.metadata.owner.names", key=key)
    assert answer("key.metadata.flag == true", key=key)
    assert not answer("key.metadata.flag == true", key={"metadata": {"flag": 1}})


def test_the_same_values_are_not_evaluated_twice_and_others_are() -> None:
    predicate = compile_expression("request.tags.memory == 'eu' && request.priority > 1")
    seen = [predicate(facts(request={"tags": {"memory": region, "n": str(at)}, "priority": 2}))
            for at, region in enumerate(["eu", "us", "eu", "us"])]  # fmt: skip
    assert seen == [True, False, True, False]
    assert len(predicate._memory) == 2


@pytest.mark.parametrize(
    "source", ["pool.used > 0.5", "budget.remaining < 1.0", "key.cost < 0.1", "key.metadata.a == 1"]
)
def test_what_changes_all_the_time_is_not_remembered(source: str) -> None:
    predicate = compile_expression(source)
    predicate(facts(pool={"used": 0.1}, budget={"remaining": 2.0}, key={"cost": 0.2}))
    assert predicate._memory == {}


def test_memory_is_bounded() -> None:
    predicate = compile_expression("request.user == 'x'")
    for at in range(3 * MEMORY):
        predicate(facts(request={"user": f"u{at}"}))
    assert len(predicate._memory) <= MEMORY


@given(
    region=st.sampled_from(["eu", "us", ""]) | st.none(),
    tier=st.integers(0, 3),
    needs=st.frozensets(st.sampled_from(["tools", "images"])),
)
def test_remembered_answers_are_right(region: str | None, tier: int, needs: frozenset[str]) -> None:
    tags = {} if region is None else {"region": region}
    given_facts = facts(request={"tags": tags, "needs": needs}, key={"tier": tier})
    predicate = compile_expression("(request.tags.region == 'eu' || 'tools' in request.needs) && key.tier >= 2")
    assert predicate(given_facts) is ((region == "eu" or "tools" in needs) and tier >= 2)


@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("request.model ==", 1, 17, "mismatched input end"),
        ("request.model == 'a' &&\n  == 'b'", 2, 3, "extraneous"),
        ("request.priority + 1", 1, 1, "int, not true or false"),
        ("request.model", 1, 1, "str, not true or false"),
        ("request.tags.level > 3", 1, 1, "cannot be evaluated"),
        ("key.tier + 2.5 > 3.0", 1, 1, "cannot be evaluated"),
        ("request.model.foo()", 1, 15, "no method"),
    ],
)
def test_mistakes_are_found_when_the_policy_is_loaded(source: str, line: int, column: int, says: str) -> None:
    with pytest.raises(ExpressionError, match=says) as raised:
        compile_expression(source)
    assert (raised.value.line, raised.value.column) == (line, column)


@pytest.mark.parametrize(
    ("source", "roots"),
    [
        ("key.cost < 0.05", {"key": {"cost": None}}),
        ("key.metadata.level > 3", {"key": {"metadata": {"level": "high"}}}),
        ("1 / request.priority > 0", {"request": {"priority": 0}}),
        ("request.priority + 9223372036854775807 > 0", {"request": {"priority": 1}}),
        ("[1, 2][request.priority] == 1", {"request": {"priority": 5}}),
        ("int(request.user) > 3", {"request": {"user": "x"}}),
        ("request.tags.exists(k, k == 'a')", {"request": {"tags": {str(at): "" for at in range(100)}}}),
        ("key.metadata.a == 'b'", {"key": {"metadata": {"a": {1, 2}}}}),
    ],
)
def test_what_cannot_be_answered_is_told_apart_from_no(source: str, roots: dict[str, dict[str, object]]) -> None:
    predicate = compile_expression(source)
    try:
        held = predicate(facts(**roots))
    except PredicateError as error:
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert held is False


@pytest.mark.parametrize(
    "source",
    [
        "key.cost < 0.05",
        "1 / request.priority > 0",
        "[1, 2][request.priority] == 1",
        "int(request.user) > 3",
        "request.tags.exists(k, k == 'a')",
    ],
)
def test_these_cannot_be_answered(source: str) -> None:
    request = {"priority": 0 if "/" in source else 5, "user": "x", "tags": {str(at): "" for at in range(100)}}
    with pytest.raises(PredicateError):
        answer(source, request=request, key={"cost": None})


HUNDRED = "[" + ",".join(str(at) for at in range(100)) + "]"
HOSTILE = [
    f"{HUNDRED}.map(a, {HUNDRED}.map(b, {HUNDRED}.map(c, a))).size() > 0",
    f"{HUNDRED}.map(a, a).map(b, b).map(c, c).map(d, d).size() == 100",
    "[" + ",".join(["1"] * 2000) + "].map(x, x).size() > 0",
    f"{HUNDRED}.exists(x, " + " && ".join(["x > -1"] * 45) + ")",
    f"{HUNDRED}.all(x, string(x) + string(x) + string(x) + string(x) != '')",
    " + ".join(["'" + "x" * 100 + "'"] * 38) + " == ''",
    "+".join(["1"] * 2040) + " > 0",
    " && ".join(["true"] * 580),
    "!" * 4000 + "true",
    "-" * 2000 + "1 < 0",
    "(" * 2000 + "true" + ")" * 2000,
    "[" * 30 + "1" + "]" * 30 + " == []",
    "a" + ".a" * 2000 + " == 1",
    "true" + " ? true : false" * 270,
    "request.user.matches('(a+)+$')",
    "request.user.matches('(a*)*(a*)*(a*)*(a*)*b')",
    "request.user.matches('" + "(" * 45 + "a" + ")" * 45 + "')",
    "request.user.matches('(a{1,500}){1,500}$')",
    "request.user.matches('[\\\\p{L}\\\\p{N}]+')",
    " || ".join([f"request.user.matches('[a-z]*[0-9]*{at}')" for at in range(80)]),
    "'" + "a" * 4000 + "'.matches('(a|a)*b')",
    "request.tags.exists(k, request.tags.exists(l, k == l))",
    "size(" * 500 + "'a'" + ")" * 500 + " > 0",
    "'\\x00' == request.user",
    "true // " + "x" * 4000,
    "\u202etrue",
    "1u + 2u == 3u",
    "9223372036854775808 > 0",
    "type(request.user) == string",
    "google.protobuf.Any{} == null",
    "request.__class__ == null",
    "request.tags.__proto__ == ''",
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_expressions_are_refused_or_answered_in_time(source: str) -> None:
    """50 ms each for reading, compiling and evaluating over a request that is as large as one may be."""
    request = {
        "user": "a" * 256,
        "tags": {f"tag-{at}": "v" * 256 for at in range(64)},
        "needs": frozenset({"tools"}),
        "model": "m" * 256,
        "priority": 1,
        "tenant": "t",
    }
    best = float("inf")
    for _ in range(3):  # the least of three, and this thread's own time: others may want the processor meanwhile
        compile_expression.cache_clear()
        began = time.thread_time()
        try:
            predicate = compile_expression(source)
            predicate(facts(request=request))
        except (ExpressionError, PredicateError) as error:
            assert str(error)  # noqa: PT017
        best = min(best, time.thread_time() - began)
    assert best < 0.05


def test_no_expression_kills_the_process() -> None:
    """The evaluator is native code: a stack overflow would be no exception. So all of them run in a process apart."""
    script = f"""
from apikeyrouter.cel import compile_expression
from apikeyrouter.core.expression import ExpressionError
from apikeyrouter.core.policy import PredicateError
from apikeyrouter.core.facts import FIELDS
for source in {HOSTILE!r}:
    try:
        compile_expression(source)({{root: {{}} for root in FIELDS}})
    except (ExpressionError, PredicateError):
        pass
print("alive")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "alive", done.stderr[-500:]


def test_the_library_is_loaded_only_for_expressions() -> None:
    script = "import sys, apikeyrouter.cel; assert 'cel' not in sys.modules, 'loaded'"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_one_source_is_one_predicate() -> None:
    assert compile_expression("time.hour > 3") is compile_expression("time.hour > 3")
    assert isinstance(compile_expression("time.hour > 3"), Predicate)
