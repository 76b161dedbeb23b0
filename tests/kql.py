"""Kibana's query language as far as our documentation uses it, as Elasticsearch queries."""

from __future__ import annotations

import re
from typing import Any

Query = dict[str, Any]

_TOKEN = re.compile(r'\s*(?:(?P<quoted>"[^"]*")|(?P<sign><=|>=|<|>|:|\(|\))|(?P<word>[^\s:()<>"]+))')
_RANGES = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}


def parse(text: str) -> tuple[Query, set[str]]:
    """Return the query of a line of KQL, and the fields that it names; `ValueError` if it is none.

    >>> parse('severity >= 75 and not key : "SPY"')[0]["bool"]["filter"][0]
    {'range': {'severity': {'gte': '75'}}}
    """
    tokens = []
    place = 0
    while text[place:].strip():
        found = _TOKEN.match(text, place)
        if found is None:
            msg = f"cannot read {text[place:]!r}"
            raise ValueError(msg)
        tokens.append(found.group().strip())
        place = found.end()
    reader = _Reader(tokens)
    query = reader.either()
    if reader.tokens:
        msg = f"cannot read {' '.join(reader.tokens)!r}"
        raise ValueError(msg)
    return query, reader.fields


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.fields: set[str] = set()

    def _take(self, *wanted: str) -> bool:
        if self.tokens and self.tokens[0].lower() in wanted:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Query:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else {"bool": {"should": parts, "minimum_should_match": 1}}

    def _both(self) -> Query:
        parts = [self._one()]
        while self._take("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else {"bool": {"filter": parts}}

    def _one(self) -> Query:
        if self._take("not"):
            return {"bool": {"must_not": [self._one()]}}
        if self._take("("):
            query = self.either()
            if not self._take(")"):
                msg = "a parenthesis is not closed"
                raise ValueError(msg)
            return query
        field, sign = self.tokens.pop(0), self.tokens.pop(0)
        self.fields.add(field)
        if sign in _RANGES:
            return {"range": {field: {_RANGES[sign]: self.tokens.pop(0).strip('"')}}}
        if sign != ":":
            msg = f"{sign!r} is no comparison"
            raise ValueError(msg)
        if not self._take("("):
            return _is(field, self.tokens.pop(0))
        parts = [_is(field, self.tokens.pop(0))]
        while self._take("or"):
            parts.append(_is(field, self.tokens.pop(0)))
        if not self._take(")"):
            msg = "a parenthesis is not closed"
            raise ValueError(msg)
        return {"bool": {"should": parts, "minimum_should_match": 1}}


def _is(field: str, value: str) -> Query:
    if value.startswith('"'):
        return {"match_phrase": {field: value.strip('"')}}
    if value == "*":
        return {"exists": {"field": field}}
    if "*" in value:
        return {"query_string": {"fields": [field], "query": value}}
    return {"match": {field: value}}
