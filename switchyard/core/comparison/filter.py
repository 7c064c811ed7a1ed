"""The grammar of filters: ``metrics.test_recall_at_10 > 0.08 and params.optimizer = 'adam'`` as a tree.

filter     = all {"or" all}
all        = one {"and" one}
one        = "not" one | "(" filter ")" | comparison
comparison = field operator constant | field ["not"] "in" "(" constant {"," constant} ")"
field      = section "." name | column
"""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from switchyard.core.comparison.fields import (
    COLUMNS,
    EQUAL,
    MAX_NAME,
    SECTIONS,
    STATUS,
    STATUSES,
    ConstantType,
    Field,
    Operator,
    is_keyword,
    suggest,
    suggest_status,
)
from switchyard.core.comparison.tokens import BadFilter, Token, to_tokens

Constant = float | int | str | datetime

MAX_TERMS: Final = 100
"""Comparisons in one filter."""
MAX_DEPTH: Final = 50
"""Parentheses and ``not`` within each other."""
MAX_CONSTANTS: Final = 500
"""The most constants in one ``in (...)``."""
MAX_FIELDS: Final = 100
"""Shown at once."""
MAX_TEXT: Final = 1_000
"""Characters of one text."""
_MAX_WHOLE: Final = 2**63 - 1
_SAME: Final = {"==": "=", "<>": "!="}
_WORDS: Final[dict[str, Operator]] = {"in": "IN", "like": "LIKE"}
_NOT: Final[dict[Operator, Operator]] = {"IN": "NOT IN", "LIKE": "NOT LIKE"}
_WHOLE: Final = re.compile(r"[+-]?\d+", re.ASCII)


class Compare(msgspec.Struct, frozen=True, tag=True):
    """True of a run that has the field, with a value for which it holds: also ``!=``. One constant, but for IN."""

    field: Field
    operator: Operator
    constants: tuple[Constant, ...]

    @property
    def is_text(self) -> bool:
        """Whether the field's text is compared, not its number."""
        return isinstance(self.constants[0], str)


class Not(msgspec.Struct, frozen=True, tag=True):
    """True of every run of which `term` is not: also of one that lacks the field."""

    term: "Expression"


class And(msgspec.Struct, frozen=True, tag=True):
    """True of a run for which all of two or more terms are true."""

    terms: tuple["Expression", ...]


class Or(msgspec.Struct, frozen=True, tag=True):
    """True of a run for which at least one of two or more terms is true."""

    terms: tuple["Expression", ...]


Expression = Compare | Not | And | Or


def parse_filter(text: str, *, any_status: bool = False) -> Expression | None:
    """Returns the tree; None for a text of nothing but spaces.

    A status that no run can have is refused, unless `any_status`: an application's own table may have others. Raises:
    BadFilter.

    >>> to_text(parse_filter("not (Status = 'failed') AND params.lr in (0.1, 1)"))
    "not status = 'failed' and params.lr IN (0.1, 1.0)"
    """
    parser = _Parser(text, of="filter", any_status=any_status)
    return None if parser.is_done() else parser.parse()


def parse_field(text: str, *, of: str) -> Field:
    """Parses a text that is one field, given as the parameter `of`.

    Raises: BadFilter: it is not one field.
    """
    parser = _Parser(text, of=of)
    found = parser.parse_field()
    if not parser.is_done():
        raise parser.refused("expected one field, and nothing after it")
    return found


def parse_field_and_way(text: str, *, of: str) -> tuple[Field, str]:
    """Parses a field with `asc`, `desc` or nothing after it; returns the way in lower case, empty if there is none.

    Raises: BadFilter: it is anything else, such as two fields.
    """
    parser = _Parser(text, of=of)
    field = parser.parse_field()
    way = next((word for word in ("asc", "desc") if parser.take("word", word)), "")
    if not parser.is_done():
        raise parser.refused(f"{of} takes one field, then asc or desc", rest=True)
    return field, way


def parse_fields(text: str, *, of: str) -> tuple[Field, ...]:
    """Reads the fields between commas; ``params.*`` is a field of that name. Raises: BadFilter."""
    parser = _Parser(text, of=of)
    if parser.is_done():
        return ()
    found = [parser.parse_field(many=True)]
    while parser.take("punctuation", ","):
        if len(found) == MAX_FIELDS:
            raise parser.refused(f"at most {MAX_FIELDS} fields")
        found.append(parser.parse_field(many=True))
    if not parser.is_done():
        raise parser.refused("expected a comma between fields")
    return tuple(dict.fromkeys(found))


def to_text(expression: Expression | None) -> str:
    """Returns the filter of a tree, which `parse_filter` reads as the same tree."""
    match expression:
        case None:
            return ""
        case Compare():
            constants = [_to_constant_text(constant) for constant in expression.constants]
            listed = f"({', '.join(constants)})" if expression.operator in ("IN", "NOT IN") else constants[0]
            return f"{expression.field} {expression.operator} {listed}"
        case Not():
            return f"not {_in_parentheses(expression.term, And, Or)}"
        case And():
            return " and ".join(_in_parentheses(term, And, Or) for term in expression.terms)
        case Or():
            return " or ".join(_in_parentheses(term, Or) for term in expression.terms)


def _in_parentheses(term: Expression, *types: type) -> str:
    return f"({to_text(term)})" if isinstance(term, types) else to_text(term)


def _to_constant_text(constant: Constant) -> str:
    if isinstance(constant, datetime):
        return f"'{constant.isoformat()}'"
    return "'" + constant.replace("'", "''") + "'" if isinstance(constant, str) else repr(constant)


class _Parser:
    """One reading of one text: a token ahead decides. Depth and number of terms are bounded, so recursion is."""

    def __init__(self, text: str, *, of: str, any_status: bool = False) -> None:
        self._any_status = any_status
        self._text = text
        self._of = of
        self._tokens = to_tokens(text, of=of)
        self._at = 0
        self._terms = 0
        self._depth = 0

    @property
    def ahead(self) -> Token:
        return self._tokens[self._at]

    def is_done(self) -> bool:
        """Returns True if nothing is left."""
        return self.ahead.kind == "end"

    def parse(self) -> Expression:
        found = self._parse_any()
        if not self.is_done():
            raise self.refused("expected `and`, `or` or the end")
        return found

    def parse_field(self, *, many: bool = False) -> Field:
        """Returns a section with its name, or a column; with `many` also all of a section: ``params.*``."""
        token = self._next()
        if token.kind != "word" or is_keyword(token.value):
            raise self.refused("expected a field, which " + suggest(token.value), token)
        first, dot, rest = token.value.partition(".")
        column = token.value.lower()
        if not dot and column in COLUMNS:
            return Field("", column)
        section = next((section for section in SECTIONS if section == first.lower()), None)
        if section is None:
            raise self.refused("the field " + suggest(first), token)
        if not dot:
            raise self.refused(f"{section} needs a name: {section}.<name>", token)
        if not rest:
            named = self._next()
            star = many and named.kind == "punctuation" and named.value == "*"
            if named.kind != "name" and not star:
                raise self.refused(f"expected a name after {section}. ; put an odd one in backticks", named)
            rest = named.value
        if not 0 < len(rest) <= MAX_NAME:
            raise self.refused(f"a name must have 1 to {MAX_NAME} characters; it has {len(rest)}", token)
        return Field(section, rest)

    def take(self, kind: str, value: str) -> bool:
        """Returns True if that is ahead, which is then behind."""
        if self.ahead.kind == kind and self.ahead.value.lower() == value:
            self._at += 1
            return True
        return False

    def refused(self, what: str, token: Token | None = None, *, rest: bool = False) -> BadFilter:
        """Returns the error to raise at a token, or at the one ahead; it quotes the token, or the whole `rest`."""
        token = token or self.ahead
        value = self._text[token.position :].rstrip() if rest else token.value
        got = "the end" if token.kind == "end" else repr(value[:40])
        return BadFilter(f"{what}; got {got}", self._text, token.position, of=self._of)

    def _next(self) -> Token:
        token = self.ahead
        if token.kind != "end":
            self._at += 1
        return token

    def _parse_any(self) -> Expression:
        terms = [self._parse_all()]
        while self.take("word", "or"):
            terms.append(self._parse_all())
        return terms[0] if len(terms) == 1 else Or(_flatten(Or, terms))

    def _parse_all(self) -> Expression:
        terms = [self._parse_one()]
        while self.take("word", "and"):
            terms.append(self._parse_one())
        return terms[0] if len(terms) == 1 else And(_flatten(And, terms))

    def _parse_one(self) -> Expression:
        begin = self.ahead
        is_not = self.take("word", "not")
        if not is_not and not self.take("punctuation", "("):
            return self._parse_comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.refused(f"at most {MAX_DEPTH} parentheses and `not` may be within each other", begin)
        found = Not(self._parse_one()) if is_not else self._parse_any()
        if not is_not and not self.take("punctuation", ")"):
            raise self.refused(f"expected `)`, which closes the `(` of character {begin.position + 1}")
        self._depth -= 1
        return found

    def _parse_comparison(self) -> Compare:
        begin = self.ahead
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self.refused(
                f"at most {MAX_TERMS} comparisons in one filter; put many constants into `in (...)`", begin
            )
        field = self.parse_field()
        at = self.ahead
        operator = self._parse_operator()
        if operator not in ("IN", "NOT IN"):
            return Compare(field, operator, (self._parse_constant(field, operator, at),))
        if not self.take("punctuation", "("):
            raise self.refused("expected `(`, which begins a list of constants")
        constants = [self._parse_constant(field, operator, at)]
        while self.take("punctuation", ","):
            ahead = self.ahead
            if len(constants) == MAX_CONSTANTS:
                raise self.refused(f"at most {MAX_CONSTANTS} constants in one list", ahead)
            constants.append(self._parse_constant(field, operator, at))
            if isinstance(constants[-1], str) != isinstance(constants[0], str):
                raise self.refused("all constants of one list must be texts, or all numbers", ahead)
        if not self.take("punctuation", ")"):
            raise self.refused("expected `,` or `)`")
        return Compare(field, operator, tuple(constants))

    def _parse_operator(self) -> Operator:
        token = self._next()
        if token.kind == "operator":
            return _SAME.get(token.value, token.value)  # type: ignore[return-value]  # the pattern has no others
        word = token.value.lower() if token.kind == "word" else ""
        if word in _WORDS:
            return _WORDS[word]
        if word == "not" and self.ahead.kind == "word" and self.ahead.value.lower() in _WORDS:
            return _NOT[_WORDS[self._next().value.lower()]]
        raise self.refused("expected an operator: = != < <= > >= LIKE IN", token)

    def _parse_constant(self, field: Field, operator: Operator, at: Token) -> Constant:
        token = self._next()
        if token.kind not in ("number", "text"):
            raise self.refused("expected a number, or a text in quotes", token)
        for type_, operators in field.operators.items():
            if (token.kind == "number") == (type_ in ("number", "whole number")):
                if operator not in operators:
                    what = f"{field} is compared with a {type_} by {' '.join(operators)}"
                    raise self.refused(f"{what}, and not by {operator}", at)
                return self._to_constant(token, type_, field, operator)
        wanted = " or ".join(field.operators)
        raise self.refused(f"{field} is compared with a {wanted}, and this is a {token.kind}", token)

    def _to_constant(self, token: Token, type_: ConstantType, field: Field, operator: Operator) -> Constant:
        if type_ == "number":
            number = float(token.value)
            if number in (float("inf"), float("-inf")):
                raise self.refused("the number is larger than float64 can hold", token)
            return number
        if type_ == "whole number":
            # The length first: Python refuses to read thousands of digits.
            if not _WHOLE.fullmatch(token.value) or len(token.value) > 20 or abs(int(token.value)) > _MAX_WHOLE:
                raise self.refused(f"expected a whole number up to {_MAX_WHOLE}", token)
            return int(token.value)
        if len(token.value) > MAX_TEXT:
            raise self.refused(f"a text may have {MAX_TEXT} characters; it has {len(token.value)}", token)
        if field == STATUS and operator in EQUAL and not self._any_status and token.value not in STATUSES:
            raise self.refused("a run's status " + suggest_status(token.value), token)
        return self._to_time(token) if type_ == "time" else token.value

    def _to_time(self, token: Token) -> datetime:
        try:
            found = datetime.fromisoformat(token.value)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError) as err:
            what = "expected a time, such as '2026-01-31' or '2026-01-31T10:30:00Z' (without a zone: UTC)"
            raise self.refused(what, token) from err


def _flatten(type_: type[And | Or], terms: list[Expression]) -> tuple[Expression, ...]:
    """Returns the terms, with those of a nested term of the same type: ``a and (b and c)`` is one."""
    return tuple(one for term in terms for one in (term.terms if isinstance(term, type_) else (term,)))
