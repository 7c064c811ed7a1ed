"""The filter of ListCustomJobs: exactly the fields and operators that its request documents, all else refused.

Source: the comment of ListCustomJobsRequest.filter (google/cloud/aiplatform/v1/job_service.proto), and the grammar
of https://google.aip.dev/160, in which OR binds tighter than AND.
"""

import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from google.cloud.aiplatform_v1.types import JobState
from google.rpc import code_pb2

from tests.emulators.vertex_errors import ServiceError

Predicate = Callable[[Any], bool]  # of a raw CustomJob message

_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])|(?P<op>!=|<=|>=|=|<|>|:)|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()=!<>:"]+))"""
)
_COMPARE: dict[str, Callable[[datetime, datetime], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@lru_cache(maxsize=64)
def parse_filter(text: str) -> Predicate:
    """The predicate that `text` says; an empty text keeps every job. Raises: ServiceError: INVALID_ARGUMENT."""
    if not text.strip():
        return lambda job: True
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str]] = []
        position = 0
        while text[position:].strip():
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._refuse(f"unexpected character at {position}")
            kind = str(match.lastgroup)
            value = match.group(kind)
            self.tokens.append((kind, re.sub(r"\\(.)", r"\1", value) if kind == "quoted" else value))
            position = match.end()

    def parse(self) -> Predicate:
        predicate = self._conjunction()
        if self.tokens:
            raise self._refuse(f"unexpected {self.tokens[0][1]!r}")
        return predicate

    def _conjunction(self) -> Predicate:
        parts = [self._disjunction()]
        while self._take_word("AND"):
            parts.append(self._disjunction())
        return lambda job: all(part(job) for part in parts)

    def _disjunction(self) -> Predicate:
        parts = [self._term()]
        while self._take_word("OR"):
            parts.append(self._term())
        return lambda job: any(part(job) for part in parts)

    def _term(self) -> Predicate:
        if self._take_word("NOT"):
            negated = self._term()
            return lambda job: not negated(job)
        if self.tokens[:1] == [("paren", "(")]:
            self.tokens.pop(0)
            inner = self._conjunction()
            if self.tokens[:1] != [("paren", ")")]:
                raise self._refuse("a parenthesis is not closed")
            self.tokens.pop(0)
            return inner
        return self._comparison()

    def _comparison(self) -> Predicate:
        if len(self.tokens) < 3 or self.tokens[0][0] != "word" or self.tokens[1][0] != "op":
            raise self._refuse("expected <field> <operator> <value>")
        (_, name), (_, op), (kind, value) = self.tokens[:3]
        # An unquoted time of day has colons in it, which would be operators: RFC 3339 times must be quoted, as in
        # the documented example.
        if kind not in ("quoted", "word"):
            raise self._refuse(f"expected a value after {name}{op}")
        del self.tokens[:3]
        if name == "display_name":
            return self._on_display_name(op, value)
        if name == "state":
            return self._on_state(op, value)
        if name == "create_time":
            return self._on_create_time(op, value)
        if name.startswith("labels."):
            return self._on_label(name.removeprefix("labels."), op, value)
        raise self._refuse(f"unsupported field {name!r}")

    def _on_display_name(self, op: str, value: str) -> Predicate:
        if op == ":":
            pattern = re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)
            return lambda job: pattern.fullmatch(job.display_name) is not None
        if op in ("=", "!="):
            return lambda job: (job.display_name == value) is (op == "=")
        raise self._refuse(f"display_name does not support {op!r}")

    def _on_state(self, op: str, value: str) -> Predicate:
        if op not in ("=", "!=") or value not in JobState.__members__:
            raise self._refuse(f"state supports = and != with a JobState; got {op}{value}")
        wanted = JobState[value].value
        return lambda job: (job.state == wanted) is (op == "=")

    def _on_create_time(self, op: str, value: str) -> Predicate:
        try:
            wanted = datetime.fromisoformat(value)
        except ValueError as err:
            raise self._refuse(f"create_time must be in RFC 3339 format; got {value!r}") from err
        if op not in _COMPARE or wanted.tzinfo is None:
            raise self._refuse(f"create_time supports = != < <= > >= with a time zone; got {op}{value}")
        compare = _COMPARE[op]
        return lambda job: compare(job.create_time.ToDatetime(tzinfo=UTC), wanted)

    def _on_label(self, key: str, op: str, value: str) -> Predicate:
        if op == ":" and value == "*":
            return lambda job: key in job.labels
        if op == "=":
            return lambda job: key in job.labels and job.labels[key] == value
        raise self._refuse(f"labels support labels.key=value and labels.key:*; got {op}{value}")

    def _take_word(self, word: str) -> bool:
        if self.tokens[:1] == [("word", word)]:
            self.tokens.pop(0)
            return True
        return False

    def _refuse(self, why: str) -> ServiceError:
        return ServiceError(code_pb2.INVALID_ARGUMENT, f"Invalid filter {self.text!r}: {why}.")
