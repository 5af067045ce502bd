"""Configuration: pydantic models are the schema, YAML layers and `key=value` fill it.

A layer is a YAML file or the command line; later layers win, key by key. Whatever is not in the schema is
an error that names the key and the nearest valid one: a misspelt option is never silently ignored.
"""

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codec_ft.errors import UserError, in_words

Layer = dict[str, Any]
Source = Path | tuple[str, Layer]
"""Where a layer comes from: a YAML file, or values and what messages call their origin."""
Schema = TypeVar("Schema", bound="Config")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it


class Config(BaseModel):
    """Base of every part of a configuration: unknown keys are refused, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


def runtime(default: Any, description: str, **constraints: Any) -> Any:
    """A field that does not change the result (workers, logging, places on disk): left out of the hash."""
    return Field(default, description=description, json_schema_extra={"runtime": True}, **constraints)


def load_config(schema: type[Schema], layers: Sequence[Source], overrides: Sequence[str] = (), *, root: Path) -> Schema:
    """Fill `schema` from layers, in order, and then from `key=value` words.

    Relative paths in a layer are meant from `root` (the project), those on the command line from the
    current folder, so that a command works from anywhere.

    Raises:
        UserError: a file is missing or no mapping, a key is unknown, a value has the wrong type.
    """
    merged = _defaults(schema)
    _resolve_paths(schema, merged, root)
    origins: dict[str, str] = {}
    for source in layers:
        origin, layer = _read_layer(source)
        _resolve_paths(schema, layer, root)
        merged = merge(merged, layer)
        origins.update({key: origin for key in flatten(layer)})
    layer = parse_overrides(overrides)
    _resolve_paths(schema, layer, Path.cwd())
    merged = merge(merged, layer)
    origins.update({key: "the command line" for key in flatten(layer)})
    try:
        return schema.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(schema, error, origins)) from None


def peek(layers: Sequence[Source], overrides: Sequence[str], key: str) -> Any:
    """The value of a top-level key before any schema is known; None where it is not given."""
    value = None
    for layer in [*(_read_layer(source)[1] for source in layers), parse_overrides(overrides)]:
        value = layer.get(key, value)
    return value


def parse_overrides(words: Sequence[str]) -> Layer:
    """Turn `["train.steps=100", "stem=bass"]` into nested mappings; values are read as YAML."""
    layer: Layer = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key:
            raise UserError(f"'{word}': an override has the form key=value, for example train.steps=100.")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError(f"'{word}': the value is not valid YAML; quote it.") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        layer = merge(layer, value)
    return layer


def merge(below: Layer, above: Mapping[str, Any]) -> Layer:
    """Lay `above` over `below`, mapping by mapping; neither is changed."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def flatten(layer: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `{"train.steps": 100}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in layer.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def to_dict(config: Config) -> Layer:
    """The whole configuration as plain values that YAML and JSON can hold."""
    return config.model_dump(mode="json")


def science(config: Config) -> dict[str, Any]:
    """What decides the result, flat: everything but runtime fields, and of a path only its last name."""
    values: dict[str, Any] = {}
    for key, field, value in _leaves(config):
        if not (isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("runtime")):
            values[key] = _last_names(value)
    return values


def config_hash(config: Config) -> str:
    """Eight hex digits that name a run: equal for equal science, whatever the machine and the folder.

    What is as its schema has it by default does not count, so that an option that is added later renames no run.
    """
    defaults = dict(_flat_defaults(type(config)))
    chosen = {key: value for key, value in science(config).items() if key == "task" or value != defaults.get(key, ...)}
    text = json.dumps(chosen, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(old: Config, new: Config) -> list[str]:
    """Lines such as `train.steps: 700 -> 900` for every scientific key that differs."""
    before, after = science(old), science(new)
    keys = sorted(before.keys() | after.keys())
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]


def save_yaml(config: Config, path: Path) -> None:
    """Write the resolved configuration; `load_config` reads it back to an equal one."""
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read_layer(source: Source) -> tuple[str, Layer]:
    """What messages call a layer's origin, and a copy of its values."""
    if isinstance(source, Path):
        return str(source), read_yaml(source)
    origin, values = source
    return origin, copy.deepcopy(values)


def read_yaml(path: Path) -> Layer:
    """The mapping that a YAML file holds.

    Raises:
        UserError: the file is missing, no YAML, or holds something else.
    """
    if not path.is_file():
        near = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f" There are: {', '.join(near)}." if near else ""
        raise UserError(f"{path}: no such configuration file.{hint}")
    try:
        layer = yaml.load(path.read_text(encoding="utf-8"), Loader=LOADER)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(layer, dict):
        raise UserError(f"{path}: a configuration is a mapping of keys to values, this is {type(layer).__name__}.")
    return layer


def _leaves(config: Config, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Config):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field, value


def _flat_defaults(schema: type[Config]) -> Iterator[tuple[str, Any]]:
    """Default of every key that has one, as `science` would have it."""
    for name, field in schema.model_fields.items():
        if isinstance(field.default, Config):
            yield from ((key, _last_names(value)) for key, _, value in _leaves(field.default, f"{name}."))
        elif not field.is_required():
            yield name, _last_names(field.get_default(call_default_factory=True))


def _last_names(value: Any) -> Any:
    """A path as its last name, alone or in a list: where it lies on this machine does not matter."""
    if isinstance(value, Path):
        return value.name
    return [_last_names(item) for item in value] if isinstance(value, list | tuple) else value


def _parts(schema: type[Config]) -> Iterator[tuple[str, Any, type[Config] | None]]:
    """Field name, annotation, and the nested schema where the field is one."""
    for name, field in schema.model_fields.items():
        kind = field.annotation
        nested = kind if isinstance(kind, type) and issubclass(kind, Config) else None
        yield name, kind, nested


def _defaults(schema: type[Config]) -> Layer:
    """The lowest layer: the schema's sections and paths.

    Sections, because one that is given in part would otherwise fall back to its own class's defaults, not to those
    that `schema` chose for it; paths, because relative ones are meant from the project here too.
    """
    defaults = {name: field.get_default() for name, field in schema.model_fields.items()}
    layer = {name: value for name, value in defaults.items() if isinstance(value, Path)}
    return layer | {name: value.model_dump() for name, value in defaults.items() if isinstance(value, Config)}


def _resolve_paths(schema: type[Config], layer: Layer, base: Path) -> None:
    for name, kind, nested in _parts(schema):
        value = layer.get(name)
        if nested is not None and isinstance(value, dict):
            _resolve_paths(nested, value, base)
        elif kind in (Path, Path | None) and name in layer:
            layer[name] = _resolved(value, base)
        elif kind == list[Path] and isinstance(value, list | tuple):
            layer[name] = [_resolved(item, base) for item in value]


def _resolved(value: Any, base: Path) -> Any:
    """A path as it is meant from `base`; what is none is left for the schema to refuse as it was given."""
    return str(base / Path(value).expanduser()) if isinstance(value, str | Path) else value


def _valid_keys(schema: type[Config], prefix: str = "") -> Iterator[str]:
    for name, kind, nested in _parts(schema):
        inner = nested or _item_schema(kind)
        if inner is None:
            yield f"{prefix}{name}"
        else:
            yield from _valid_keys(inner, f"{prefix}{name}.")


def _item_schema(kind: Any) -> type[Config] | None:
    """The schema of a list's items or a mapping's values, where they have one."""
    item = get_args(kind)[-1] if get_args(kind) else None
    return item if isinstance(item, type) and issubclass(item, Config) else None


def _explain(schema: type[Config], error: ValidationError, origins: Mapping[str, str]) -> str:
    """The first problem as one line: which key, from where, what is wrong, what would be right."""
    # A required key that is misspelt is missing and unknown: it is the wrong spelling that can be mended.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    # Where a value may be of several kinds there is a problem for each; that of the likest kind lies deepest.
    key = ".".join(_key(schema, problem["loc"]))
    kinds = [found for found in error.errors() if f"{'.'.join(_key(schema, found['loc']))}.".startswith(f"{key}.")]
    problem = max(kinds, key=lambda found: len(found["loc"]))
    key = ".".join(_key(schema, problem["loc"]))
    # The problem may be a whole section, or a single number of a list, which have no origin of their own.
    near = {k: o for k, o in origins.items() if not key or f"{k}.".startswith(f"{key}.") or key.startswith(f"{k}.")}
    origin = _listed(near.values())
    if problem["type"] == "extra_forbidden":
        valid = list(_valid_keys(schema))
        # Someone who forgets the section (steps for train.steps) is helped by the match of the last part.
        same_name = [k for k in valid if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        sections = sorted({k.rsplit(".", 1)[0] for k in valid if "." in k})
        nearest = same_name or difflib.get_close_matches(key, [*valid, *sections], n=1, cutoff=0.0)
        return f"{key}: unknown key in {origin}; did you mean {nearest[0]}?"
    if problem["type"] == "missing":
        return f"{key}: this key has no value; give it in a configuration file or as {key}=VALUE."
    message = in_words(problem["msg"])
    message = f"{message[0].lower()}{message[1:]}"
    if problem["type"] == "value_error" and _is_section(schema, problem["loc"]):
        words = set(re.findall(r"[\w.]*\w", message))
        named = [o for k, o in near.items() if k.removeprefix(f"{key}.") in words]
        return f"{_listed(named) if named else origin}: {f'{key}: ' if key else ''}{message}."
    return f"{key}: {message}, but {origin} {'give' if ' and ' in origin else 'gives'} {problem['input']!r}."


def _key(schema: type[Config], location: Sequence[int | str]) -> Iterator[str]:
    """The parts of a location that a person may write: not the kinds among which pydantic looked for a value's own."""
    kind: Any = schema
    for part in location:
        members = get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
        if len([member for member in members if member is not NoneType]) > 1 and isinstance(part, str):
            kind = None
            continue
        yield str(part)
        if isinstance(kind, type) and issubclass(kind, Config):
            kind = dict((name, k) for name, k, _ in _parts(kind)).get(str(part))
        else:
            kind = get_args(kind)[-1] if get_args(kind) else None


def _is_section(schema: type[Config], location: Sequence[int | str]) -> bool:
    """Whether a location is the whole configuration or a section of it, not a single value."""
    kind: Any = schema
    for part in location:
        inner = kind if isinstance(kind, type) and issubclass(kind, Config) else None
        kind = dict((name, k) for name, k, _ in _parts(inner)).get(str(part)) if inner else _item_schema(kind)
    return isinstance(kind, type) and issubclass(kind, Config)


def _listed(origins: Iterable[str]) -> str:
    """Where something comes from, each place once."""
    return " and ".join(dict.fromkeys(origins)) or "the configuration"
