"""What an expression may be: what it reads, what is refused and where, and that nothing hostile passes the reader."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeyrouter.core.expression import MAX_BYTES, ExpressionError, read, where


@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("request.tags.region == 'eu'", ["request.tags.region"]),
        ("request.tags['x-team'] in ['a', 'b'] && key.tier >= 2", ["request.tags.x-team", "key.tier"]),
        ('request.tags["region"] != ""', ["request.tags.region"]),
        ("key.metadata.owner.name == 'ada'", ["key.metadata.owner.name"]),
        ("has(request.tags.region) && request.tags.region == 'eu'", ["has request.tags.region", "request.tags.region"]),
        ("request.needs.exists(need, need == 'tools')", ["request.needs"]),
        ("request.tags.exists(k, k.startsWith('x')) || size(request.tags) == 0", ["request.tags"]),
        ("request.model.startsWith('gpt') ? time.hour < 6 : !(time.weekday in [6, 7])",
         ["request.model", "time.hour", "time.weekday"]),
        ("// at night\n time.hour >= 22 // only", ["time.hour"]),
        ("r'\\d' == '\\\\d' && request.user.matches('^[a-z]+$')", ["request.user"]),
        ("'''a\nb''' != \"c\"", []),
        ("budget.used > 0.8 && pool.remaining < 1e-1", ["budget.used", "pool.remaining"]),
        ("[1, 2, 3].all(x, x > 0)", []),
        ("true", []),
    ],
)  # fmt: skip
def test_what_an_expression_reads(source: str, reads: list[str]) -> None:
    found = [("has " if chain.tested else "") + ".".join(chain.path) for chain in read(source).chains]
    assert found == reads


@pytest.mark.parametrize(
    ("source", "line", "column", "says"),
    [
        ("", 1, 1, "empty"),
        ("   \n  ", 1, 1, "empty"),
        ("requst.model == 'a'", 1, 1, "no 'requst'; there is budget, key, pool, request, time"),
        ("true &&\n  request.modle == 'a'", 2, 3, "request has no 'modle'"),
        ("request", 1, 1, "not a value"),
        ("request.model.name == 'a'", 1, 1, "request.model has no fields"),
        ("key.tags.a.b == 'x'", 1, 1, "is a string and has no fields"),
        ("request.tags[request.user] == 'a'", 1, 13, "written as a string"),
        ("request.tags['a\\'b'] == 'a'", 1, 13, "written as a string"),
        ("has(request.model)", 1, 1, "has() takes a tag"),
        ("has(request.tags.a + 'x')", 1, 1, "has() takes a tag"),
        ("has(request.togs.a)", 1, 5, "request has no 'togs'"),
        ("now() > 3", 1, 1, "no function 'now'"),
        ("request.model.lower() == 'a'", 1, 15, "no method 'lower'"),
        ("(request.model).foo", 1, 17, "has none"),
        ("a &&\n  b ||| c", 2, 7, "'|' means nothing"),
        ("'abc", 1, 1, "no end"),
        ("'abc\n'", 1, 1, "no end"),
        ("(true", 1, 1, "never closed"),
        ("true)", 1, 5, "closes nothing"),
        ("[1, 2)", 1, 6, "closes nothing"),
        ("{'a': 1} == {'a': 1}", 1, 1, "maps cannot be written"),
        ("b'x' == b'x'", 1, 1, "bytes cannot be written"),
        ("x == 1 && [1].exists(x, x == 1)", 1, 1, "no 'x'"),
        ("[1].exists(x, x == 1) && x == 1", 1, 26, "no 'x'"),
        ("request.needs.exists(1, true)", 1, 15, "takes a name and a condition"),
        ("request.needs.exists()", 1, 15, "takes a name and a condition"),
        ("[1].exists(x, [1].exists(y, y == x))", 1, 19, "loop inside a loop"),
        ("request.user.matches(request.tenant)", 1, 14, "pattern written as a string"),
        ("request.user.matches('a{1,500}')", 1, 22, "no counted repetition"),
        ("request.user.matches('" + "a" * 200 + "')", 1, 22, "at most 100 characters"),
        ("request.needs.exists(n, n.matches('a'))", 1, 27, "not allowed in a loop"),
        ("[" + ",".join("1" * 101) + "].size() > 0", 1, 1, "more than 100 elements"),
        ("(" * 33 + "true" + ")" * 33, 1, 33, "nested deeper than 32"),
        (" || ".join(["[1].exists(x, x > 1)"] * 5), 1, 101, "more than 4 loops"),
        ("request.needs.exists(n, " + " || ".join(["n == 'a'"] * 60) + ")", 1, 1, "steps"),
        ("true" + " " * MAX_BYTES, 1, 1, "4100 bytes; 4096 are allowed"),
        ("'" + "é" * 2050 + "' == 'a'", 1, 1, "4096 are allowed"),
        ("\N{NULL}", 1, 1, "means nothing"),
        ("1" + "+1" * 600 + " > 0", 1, 1001, "more than 1000 words and signs; split"),
    ],
)
def test_what_it_may_not_be_and_where(source: str, line: int, column: int, says: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        read(source)
    assert says in raised.value.message
    assert (raised.value.line, raised.value.column) == (line, column)
    assert f"line {line}, column {column}" in str(raised.value)


@pytest.mark.parametrize(("at", "place"), [(0, (1, 1)), (3, (1, 4)), (4, (2, 1)), (6, (2, 3))])
def test_lines_and_columns_count_from_one(at: int, place: tuple[int, int]) -> None:
    assert where("abc\nde", at) == place


PIECES = """
    request key pool budget time tags model needs metadata has exists all map matches size x y . .. ( ) [ ] { } , ? :
    && || ! == < 1 2.5 'a' "b" 'a true null in + - // r'x' ''' b'
"""
pieces = st.sampled_from([*PIECES.split(), "\n", " "])


@given(st.lists(pieces, max_size=30).map(" ".join) | st.lists(pieces, max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_read_or_refused_at_a_place_in_it(source: str) -> None:
    try:
        reading = read(source)
    except ExpressionError as error:
        place = (error.line, error.column)
    else:
        assert all(len(chain.path) >= 2 for chain in reading.chains)
        assert reading.roots <= {"request", "key", "pool", "budget", "time"}
        place = (1, 1)
    assert 1 <= place[0] <= source.count("\n") + 1
    assert 1 <= place[1] <= len(source) + 1
