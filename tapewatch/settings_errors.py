"""What is wrong with a setting, in one line: the key, what is allowed, what was found, and where."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import orjson
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from tapewatch.errors import UserError

# Values under such names, and texts in which such names occur, are never printed.
_SECRET = re.compile(r"key|token|password|secret|notify\.urls", re.IGNORECASE)
#: Secrets among a table's free keys, such as librdkafka's properties.
_SECRET_OPTION = re.compile(r"password|secret|ssl\.key\.pem|oauthbearer\.config", re.IGNORECASE)
_NO_SECRETS = frozenset({"alerts.per_key_per_day"})
_CREDENTIALS = re.compile(r"://\S*@")
_ADDED_BY_PYDANTIC = ("literal[", "float", "function-", "constrained-")
_TYPES = {"bool": "true or false", "int": "a whole number", "float": "a number", "string": "a text"}
_TYPES |= {"list": "a list", "dict": "a table", "model": "a table"}


def explain(error: ValidationError, prefix: str = "", model: type[BaseModel] | None = None) -> str:
    """Return one line for the first thing that is wrong: the key, what is allowed, what was found.

    Parameters
    ----------
    error
        What pydantic says.
    prefix
        Key of the section that was validated.
    model
        The model that was validated; with it the line says what the field allows as a whole.
    """
    first = error.errors(include_url=False)[0]
    names = [str(p) for p in first["loc"] if not str(p).startswith(_ADDED_BY_PYDANTIC)]
    if first["type"] == "extra_forbidden":
        return unknown_key(names, prefix, model)
    was = "was"
    if model is not None and len(names) > 1 and _is_list(field_of(model, names[:-1])):
        # One item of a list is wrong: say what the list may hold.
        names.pop()
        was = "has"
    key = ".".join([prefix] * bool(prefix) + names)
    field = None if model is None else field_of(model, names)
    # A validator of its own says more than the type it comes behind.
    told = first["type"] == "value_error" and (field is None or not field.description)
    if field is not None and not told and (allowed := allowed_of(field)):
        must = f"must be {allowed}"
    elif first["type"] == "literal_error":
        must = "must be one of " + first["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    elif (kind := first["type"].split("_")[0]) in _TYPES and first["type"].endswith(("_type", "_parsing")):
        must = f"must be {_TYPES[kind]}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        message = message.replace("Input should be", "must be").replace("String should", "must")
        must = f"{message[:1].lower()}{message[1:]}"
    return f"`{key}` {must}, {was} {shown(key, first['input'])}"


def location(error: ValidationError) -> list[str]:
    """Return the names that lead to the first thing that is wrong, as far as they are keys."""
    return [str(p) for p in error.errors(include_url=False)[0]["loc"] if isinstance(p, str)]


def shown(key: str, value: object) -> str:
    """Return a value as a message may print it: short, and never a secret.

    >>> shown("sinks.bars", "2m"), shown("sinks.elasticsearch.api_key", "hunter2")
    ("'2m'", 'something that is not shown')
    >>> shown("sinks.notify.urls", "slack://A/B/C"), shown("kafka.brokers", "sasl://me:hunter2@host")
    ('something that is not shown', "'sasl://...@host'")
    """
    text = repr(value)
    if (_SECRET.search(key) and key not in _NO_SECRETS) or _SECRET.search(text):
        return "something that is not shown"
    text = _CREDENTIALS.sub("://...@", text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def unknown_key(names: list[str], prefix: str, model: type[BaseModel] | None) -> str:
    """Return the line for a key that there is not, with those that there are."""
    key = ".".join([prefix] * bool(prefix) + names)
    section = model
    for name in names[:-1]:
        field = None if section is None else section.model_fields.get(name)
        section = None if field is None else _model_of(field)
    if section is None:
        return f"unknown key `{key}`; see docs/settings.md for those there are"
    place = f"`{key.rpartition('.')[0]}` has" if "." in key else "there are"
    return f"unknown key `{key}`; {place} {', '.join(section.model_fields)}"


def field_of(model: type[BaseModel], names: list[str]) -> FieldInfo | None:
    """Return the field that the names lead to, None if there is none."""
    field: FieldInfo | None = None
    section: type[BaseModel] | None = model
    for name in names:
        field = None if section is None else section.model_fields.get(name)
        section = None if field is None else _model_of(field)
    return field


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _is_list(field: FieldInfo | None) -> bool:
    return field is not None and get_origin(field.annotation) is list


def _is_dict(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def allowed_of(field: FieldInfo) -> str:
    """Return in words what a field takes: its own description, or what its type and bounds say."""
    if field.description:
        return field.description
    annotation, origin = field.annotation, get_origin(field.annotation)
    if _model_of(field) is not None or _is_dict(field):
        return "a table"
    if origin is list:
        (item,) = get_args(annotation)
        return "a list of " + (", ".join(get_args(item)) if get_origin(item) is Literal else "texts")
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType) or not isinstance(annotation, type):
        return ""
    words = _TYPES.get("string" if annotation is str else annotation.__name__, "")
    return " ".join([words, *(_bound(rule) for rule in field.metadata)]).strip() if words else ""


def _bound(rule: object) -> str:
    match rule:
        case Ge(ge=low):
            return f"from {low}"
        case Gt(gt=low):
            return f"above {low}"
        case Le(le=high):
            return f"up to {high:.15g}" if isinstance(high, float) else f"up to {high}"
        case Lt(lt=high):
            return f"below {high}"
    least, most = getattr(rule, "min_length", None), getattr(rule, "max_length", None)
    if least:
        return f"of {least} or more characters"
    return f"of at most {most} characters" if most is not None else ""


def check_variables(model: type[BaseModel], prefix: str, variables: Mapping[str, str | None]) -> None:
    """Refuse variables with our prefix that name no key, and lists and tables that are no JSON.

    Raises
    ------
    UserError
        One line that names the key and the variable.
    """
    for variable in sorted(variables):
        if variable.upper().startswith(prefix):
            names = variable[len(prefix) :].lower().split("__")
            _check_variable(model, names, variable, variables[variable] or "")


def refuse_secrets(model: type[BaseModel], table: Mapping[str, Any], prefix: str, place: str) -> None:
    """Refuse a settings file that holds a secret; those come from the environment only.

    Parameters
    ----------
    model
        The settings; its fields of type `SecretStr` are the secrets.
    table
        What the file holds.
    prefix
        What names of environment variables begin with.
    place
        The file, for the message.

    Raises
    ------
    UserError
        One line that names the key and the variable to use instead.
    """
    _refuse_secrets(model, table, prefix, place, ())


def _refuse_secrets(
    model: type[BaseModel], table: Mapping[str, Any], prefix: str, place: str, names: tuple[str, ...]
) -> None:
    for name, field in model.model_fields.items():
        within = table.get(name)
        if within is not None and SecretStr in (field.annotation, *get_args(field.annotation)):
            key, variable = ".".join((*names, name)), prefix + "__".join((*names, name)).upper()
            raise UserError(f"`{key}` is a secret and must not be in {place}; set {variable} instead")
        if _is_dict(field) and (secret := _secret_within(within)):
            key, variable = ".".join((*names, name)), prefix + "__".join((*names, name)).upper()
            raise UserError(
                f"`{key}` has {secret}, a secret, which must not be in {place}; "
                f"set {variable}='{{\"{secret}\": ...}}' instead"
            )
        section = _model_of(field)
        if section is not None and isinstance(within, Mapping):
            _refuse_secrets(section, within, prefix, place, (*names, name))


def _secret_within(table: object, name: str = "") -> str:
    """Return the first key of a table whose value is a secret, with its dots; empty if there is none."""
    if not isinstance(table, Mapping):
        return name if _SECRET_OPTION.search(name) else ""
    parts = (_secret_within(within, f"{name}.{key}" if name else key) for key, within in table.items())
    return next(filter(None, parts), "")


def _check_variable(model: type[BaseModel], names: list[str], variable: str, value: str) -> None:
    for depth in range(1, len(names) + 1):
        field = field_of(model, names[:depth])
        if field is None:
            raise UserError(f"{unknown_key(names[:depth], '', model)} (in {variable})")
        if _is_dict(field) and depth < len(names):
            # What is in it is for those to judge who know its keys.
            return
    key = ".".join(names)
    wants_list = _is_list(field)
    if field is None or not (wants_list or _is_dict(field) or _model_of(field) is not None):
        return
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list if wants_list else dict):
        example = _example(field, wants_list=wants_list)
        allowed = f"{allowed_of(field)}, in JSON such as {example}"
        raise UserError(f"`{key}` must be {allowed}, was {shown(key, value)} (in {variable})")


def _example(field: FieldInfo, *, wants_list: bool) -> str:
    if field.examples:
        return orjson.dumps(field.examples[0]).decode()
    if wants_list:
        default: Any = field.default
        return orjson.dumps(default or ["day.trades.dbn.zst"]).decode()
    section = _model_of(field)
    first = next(iter(section.model_fields), "name") if section is not None else "high_volume"
    return '{"' + first + '": ...}'
