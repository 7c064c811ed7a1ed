"""The grammar of filters: what it reads, what it refuses and where, and that nothing else ever happens."""

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.core.comparison.fields import COLUMNS, OPERATORS, SECTIONS, Field
from switchyard.core.comparison.filter import (
    MAX_CONSTANTS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_TERMS,
    And,
    Compare,
    Expression,
    Not,
    Or,
    parse_fields,
    parse_filter,
    to_text,
)
from switchyard.core.comparison.tokens import MAX_CHARACTERS, BadFilter
from switchyard.core.errors import BadRequest

RECALL = Compare(Field("metrics", "recall"), ">", (0.08,))
ADAM = Compare(Field("params", "optimizer"), "=", ("adam",))
TEAM = Compare(Field("tags", "team"), "IN", ("a", "b"))

READ: dict[str, Expression | None] = {
    "metrics.recall > 0.08": RECALL,
    "METRICS.recall>.08": RECALL,
    "metrics.`recall` > 8e-2": RECALL,
    "params.optimizer = 'adam'": ADAM,
    'params.optimizer == "adam"': ADAM,
    "tags.team in ('a', 'b')": TEAM,
    "metrics.recall > 0.08 AND params.optimizer = 'adam'": And((RECALL, ADAM)),
    "metrics.recall > 0.08 and params.optimizer = 'adam' or tags.team IN ('a','b')": Or((And((RECALL, ADAM)), TEAM)),
    "metrics.recall > 0.08 and (params.optimizer = 'adam' or tags.team IN ('a','b'))": And((RECALL, Or((ADAM, TEAM)))),
    "not metrics.recall > 0.08 and params.optimizer = 'adam'": And((Not(RECALL), ADAM)),
    "not (metrics.recall > 0.08 and params.optimizer = 'adam')": Not(And((RECALL, ADAM))),
    "((metrics.recall > 0.08))": RECALL,
    "name not like 'old%'": Compare(Field("", "name"), "NOT LIKE", ("old%",)),
    "id not in (1, 3)": Compare(Field("", "id"), "NOT IN", (1, 3)),
    "status <> 'failed'": Compare(Field("", "status"), "!=", ("failed",)),
    "name = 'it''s \"odd\"'": Compare(Field("", "name"), "=", ('it\'s "odd"',)),
    "params.`a ``b`` c` = -1": Compare(Field("params", "a `b` c"), "=", (-1.0,)),
    "metrics.eval/ndcg@10 < 1": Compare(Field("metrics", "eval/ndcg@10"), "<", (1.0,)),
    "metrics.größe < 1": Compare(Field("metrics", "größe"), "<", (1.0,)),
    "params.and = 'x'": Compare(Field("params", "and"), "=", ("x",)),
    "created_at >= '2026-01-31'": Compare(Field("", "created_at"), ">=", (datetime(2026, 1, 31, tzinfo=UTC),)),
    "created_at >= '2026-01-31T10:30:00+02:00'": Compare(
        Field("", "created_at"), ">=", (datetime(2026, 1, 31, 8, 30, tzinfo=UTC),)
    ),
    "": None,
    " \n\t": None,
}

REFUSED = {
    "metrics.x = 'a'": (12, "metrics.x is compared with a number, and this is a text"),
    "best.x LIKE 'a'": (12, "best.x is compared with a number"),
    "params.x < 'a'": (9, "params.x is compared with a text by = != IN NOT IN LIKE NOT LIKE, and not by <"),
    "status > 'a'": (7, "and not by >"),
    "status = 'done'": (9, "a run's status must be one of pending, submitted, running, completed, failed, cancelled"),
    "status != 'Failed'": (10, "did you mean failed?"),
    "status not in ('failed', 'finished')": (25, "a run's status must be one of"),
    "name = 3": (7, "name is compared with a text, and this is a number"),
    "id = 1.5": (5, "a whole number"),
    "id = 99999999999999999999": (5, "a whole number"),
    "id = 1e3": (5, "a whole number"),
    "duration_s = '3'": (13, "duration_s is compared with a number"),
    "created_at > 'yesterday'": (13, "expected a time"),
    "created_at > 5": (13, "created_at is compared with a time"),
    "metric.x > 1": (0, "did you mean metrics?"),
    "stat = 'a'": (0, "did you mean status?"),
    "metrics > 1": (0, "metrics.<name>"),
    "metrics. > 1": (9, "expected a name after metrics."),
    "metrics.`` > 1": (0, "a name must have 1 to 250 characters"),
    "1 > metrics.x": (0, "expected a field"),
    "metrics.x": (9, "expected an operator"),
    "metrics.x >": (11, "expected a number"),
    "metrics.x > 1 1": (14, "`and`, `or` or the end"),
    "metrics.x > 1 and": (17, "expected a field"),
    "(metrics.x > 1": (14, "which closes the `(` of character 1"),
    "metrics.x > 1)": (13, "`and`, `or` or the end"),
    "metrics.x in 1": (13, "expected `(`"),
    "metrics.x in ()": (14, "expected a number"),
    "metrics.x in (1, )": (17, "expected a number"),
    "params.x in (1, 'a')": (16, "all constants of one list"),
    "metrics.x > 1e999": (12, "float64"),
    "metrics.x > nan": (12, "expected a number"),
    "name = 'a": (7, "a text begins here and does not end"),
    "params.`a = 1": (7, "a name begins here and does not end"),
    "metrics.x > 1 ; drop table quick_tests": (14, "';' has no meaning here"),
    "metrics.x > 1 -- no": (14, "'-' has no meaning here"),
    "metrics.x \N{NO-BREAK SPACE}> 1": (10, "a space that is not ASCII"),
    "metrics.x > \N{ARABIC-INDIC DIGIT ONE}": (12, "has no meaning here"),
    "name = '\0": (7, "does not end"),
    "params.* = 1": (7, "expected a name after params."),
}


@pytest.mark.parametrize("text", READ)
def test_filter_is_read_as_its_tree(text: str) -> None:
    """Operators bind as in SQL, keywords are of any case, and a text or name keeps every character."""
    assert parse_filter(text) == READ[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refusal_points_at_the_character(text: str) -> None:
    """The place from 0, its number for people from 1, and a caret below the very character."""
    position, what = REFUSED[text]
    with pytest.raises(BadFilter) as refused:
        parse_filter(text)
    said = str(refused.value)
    assert what in said
    assert refused.value.position == position
    assert said.startswith(f"`filter`, character {position + 1}: ")
    _, shown, caret = said.split("\n")
    assert caret.index("^") == 2 + position
    assert shown[2:].replace("\ufffd", "\0").replace("  ", " ")[:9] == text.replace("\N{NO-BREAK SPACE}", "")[:9]


def test_refusal_shows_the_part_around_the_character() -> None:
    """Of a long filter; the caret is below the same character there."""
    text = "metrics.x > 1 and " * 20 + "metrics.y ? 2" + " and metrics.x > 1" * 20
    with pytest.raises(BadFilter) as refused:
        parse_filter(text)
    _, shown, caret = str(refused.value).split("\n")
    assert shown[caret.index("^")] == "?"
    assert shown.startswith("  ...")
    assert shown.endswith("...")
    assert len(shown) < 80


@pytest.mark.parametrize("name", [*(f"{section}.x" for section in SECTIONS), *COLUMNS])
def test_every_operator_on_every_type_is_read_or_refused_by_name(name: str) -> None:
    """The table of operators decides, and nothing else."""
    constants = {"number": "1.5", "whole number": "7", "text": "'a'", "time": "'2026-01-31'"}
    for type_, constant in constants.items():
        for operator in ("=", "!=", "<", "<=", ">", ">=", "LIKE", "NOT LIKE", "IN", "NOT IN"):
            listed = f"({constant})" if operator.endswith("IN") else constant
            allowed = OPERATORS[name.partition(".")[0]]
            text = f"{name} {operator} {listed}"
            same = {"whole number": ("number",), "number": (), "text": (), "time": ("text",)}[type_]
            if any(operator in allowed.get(kind, ()) for kind in (type_, *same)):  # type: ignore[call-overload]
                assert isinstance(parse_filter(text, any_status=True), Compare)
            else:
                with pytest.raises(BadFilter):
                    parse_filter(text)


HOSTILE = {
    "10,000 terms": " and ".join(["metrics.x > 1"] * 1_400),
    "more terms than an address holds": " or ".join(["metrics.x > 1"] * 10_000),
    "deep parentheses": "(" * 5_000 + "metrics.x > 1" + ")" * 5_000,
    "not of not": "not " * 4_000 + "metrics.x > 1",
    "a long list": f"metrics.x in ({', '.join(['1'] * 5_000)})",
    "thousands of digits": "id = " + "9" * 10_000,
    "a long number": "metrics.x > " + "9" * 10_000,
    "a long text": "name = '" + "a" * 10_000 + "'",
    "a long name": "metrics." + "a" * 10_000 + " > 1",
    "quotes": "'" * 9_999,
    "backticks": "metrics." + "`" * 9_999,
    "a lone surrogate": "name = \ud800",
    "controls": "".join(map(chr, range(32))),
    "right to left": "metrics.x \u202e> 1",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_filter_is_refused_in_few_words(text: str) -> None:
    """At once, whatever its size, in a message that an answer can hold."""
    with pytest.raises(BadRequest) as refused:
        parse_filter(text)
    assert len(str(refused.value)) < 700
    json.dumps(str(refused.value)).encode()
    str(refused.value).encode()


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (" and ".join(["id = 1"] * MAX_TERMS), " and ".join(["id = 1"] * (MAX_TERMS + 1))),
        ("(" * MAX_DEPTH + "id = 1" + ")" * MAX_DEPTH, "(" * (MAX_DEPTH + 1) + "id = 1" + ")" * (MAX_DEPTH + 1)),
        (f"id in ({','.join(['1'] * MAX_CONSTANTS)})", f"id in ({','.join(['1'] * (MAX_CONSTANTS + 1))})"),
        ("id = 1".ljust(MAX_CHARACTERS), "id = 1".ljust(MAX_CHARACTERS + 1)),
    ],
)
def test_bounds_are_where_they_are_said_to_be(good: str, bad: str) -> None:
    """The largest filter is read; one more is refused, with the bound."""
    assert parse_filter(good) is not None
    with pytest.raises(BadFilter, match="at most"):
        parse_filter(bad)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NAMES = TEXTS.filter(bool)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.datetimes(timezones=st.just(UTC))
_FITTING: dict[str, Any] = {
    "number": NUMBERS,
    "whole number": st.integers(-(2**63) + 1, 2**63 - 1),
    "text": TEXTS,
    "time": TIMES,
}


@st.composite
def comparisons(draw: st.DrawFn) -> Compare:
    section = draw(st.sampled_from(["", *SECTIONS]))
    field = Field(section, draw(NAMES if section else st.sampled_from(COLUMNS)))  # type: ignore[arg-type]
    type_, operators = draw(st.sampled_from(sorted(field.operators.items())))
    operator = draw(st.sampled_from(operators))
    most = 3 if operator in ("IN", "NOT IN") else 1
    return Compare(field, operator, tuple(draw(st.lists(_FITTING[type_], min_size=1, max_size=most))))


def joined(terms: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(terms, min_size=2, max_size=3).map(tuple)
    return st.one_of(terms.map(Not), some.map(And), some.map(Or))


EXPRESSIONS = st.recursive(comparisons(), joined, max_leaves=8)


def flat(expression: Expression) -> Expression:
    """As the parser has it: an `and` within an `and` is one."""
    match expression:
        case Not(term):
            return Not(flat(term))
        case And() | Or():
            terms = [flat(term) for term in expression.terms]
            kind = type(expression)
            return kind(tuple(one for term in terms for one in (term.terms if isinstance(term, kind) else (term,))))
        case _:
            return expression


@given(EXPRESSIONS)
def test_tree_is_written_and_read_again(expression: Expression) -> None:
    """Every tree has a text, and that text no other tree."""
    expression = flat(expression)
    text = to_text(expression)
    assert parse_filter(text, any_status=True) == expression
    assert to_text(parse_filter(text, any_status=True)) == text


@given(st.text(max_size=200) | st.text("metricsparams.`'\"()<>=!, andornotinlike0123456789eE+-\\%_", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other exception ever; and what is read has a text that is read as the same."""
    try:
        found = parse_filter(text)
    except BadFilter as err:
        assert 0 <= err.position <= len(text)
        return
    assert parse_filter(to_text(found)) == found


@given(EXPRESSIONS, st.integers(0, 10**6), st.characters())
def test_damaged_filter_is_read_or_refused(expression: Expression, at: int, character: str) -> None:
    """One character of a good filter is another: nearly right is no reason for another exception."""
    text = to_text(expression)
    at %= len(text)
    try:
        parse_filter(text[:at] + character + text[at + 1 :])
    except BadFilter:
        return


def test_status_of_an_application_s_own_may_be_any() -> None:
    """It is the application's word; and a pattern may be of anything."""
    for text in ("status = 'done'", "status IN ('done', 'failed')"):
        assert to_text(parse_filter(text, any_status=True)) == text
    assert to_text(parse_filter("status LIKE 'comp%'")) == "status LIKE 'comp%'"


def test_time_in_any_zone_is_one_moment() -> None:
    """It is kept in UTC, whatever it was written in."""
    moment = datetime(2026, 1, 31, 10, 30, tzinfo=timezone(timedelta(hours=-5)))
    found = parse_filter(f"created_at = '{moment.isoformat()}'")
    assert isinstance(found, Compare)
    (constant,) = found.constants
    assert isinstance(constant, datetime)
    assert (constant, constant.tzinfo) == (moment, UTC)


def test_time_before_the_first_year_is_refused() -> None:
    """In UTC it would be in the year 0."""
    with pytest.raises(BadFilter, match="expected a time"):
        parse_filter("created_at > '0001-01-01T00:00:00+23:00'")


def test_fields_are_listed_once_each() -> None:
    """In their order; `*` is all of a section; a name with a comma is in backticks."""
    found = parse_fields("metrics.b, params.*,metrics.b,tags.`a,b`", of="fields")
    assert found == (Field("metrics", "b"), Field("params", "*"), Field("tags", "a,b"))
    assert parse_fields(" ", of="fields") == ()
    assert len(parse_fields(",".join(f"tags.t{number}" for number in range(MAX_FIELDS)), of="fields")) == MAX_FIELDS
    for bad in (
        ",".join(["tags.t"] * (MAX_FIELDS + 1)),
        "metrics.a,",
        "metrics.a metrics.b",
        ",",
        "metrics.a,,",
        "*",
        "nothing",
    ):
        with pytest.raises(BadFilter, match="`fields`"):
            parse_fields(bad, of="fields")


def test_reading_takes_time_in_proportion_to_the_text() -> None:
    """A hostile text of the largest size is no work: each character is looked at a bounded number of times."""
    source = random.Random(1)
    for alphabet in ("'`\"", "0123456789.", "a.", " \t", "()", "+-.eE"):
        text = "".join(source.choices(alphabet, k=MAX_CHARACTERS))
        with pytest.raises(BadFilter):
            parse_filter("metrics.x > " + text[: MAX_CHARACTERS - 20])
