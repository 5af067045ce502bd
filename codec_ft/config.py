"""Configuration: pydantic models are the schema, YAML layers and `key=value` fill it.

A layer is a YAML file or the command line; later layers win, key by key. Whatever is not in the schema is
an error that names the key and the nearest valid one: a misspelt option is never silently ignored.
"""

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from codec_ft.errors import UserError

Layer = dict[str, Any]
Schema = TypeVar("Schema", bound="Config")


class Config(BaseModel):
    """Base of every part of a configuration: unknown keys are refused, values do not change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def runtime(default: Any, description: str, **constraints: Any) -> Any:
    """A field that does not change the result (workers, logging, places on disk): left out of the hash."""
    return Field(default, description=description, json_schema_extra={"runtime": True}, **constraints)


def load_config(schema: type[Schema], layers: Sequence[Path], overrides: Sequence[str] = (), *, root: Path) -> Schema:
    """Fill `schema` from YAML files, in order, and then from `key=value` words.

    Relative paths in a YAML file are meant from `root` (the project), those on the command line from the
    current folder, so that a command works from anywhere.

    Raises:
        UserError: a file is missing or no mapping, a key is unknown, a value has the wrong type.
    """
    merged = _defaults(schema)
    _resolve_paths(schema, merged, root)
    origins: dict[str, str] = {}
    for path in layers:
        layer = _read_yaml(path)
        _resolve_paths(schema, layer, root)
        merged = merge(merged, layer)
        origins.update({key: str(path) for key in flatten(layer)})
    layer = parse_overrides(overrides)
    _resolve_paths(schema, layer, Path.cwd())
    merged = merge(merged, layer)
    origins.update({key: "the command line" for key in flatten(layer)})
    try:
        return schema.model_validate(merged)
    except ValidationError as error:
        raise UserError(_explain(schema, error, origins)) from None


def peek(layers: Sequence[Path], overrides: Sequence[str], key: str) -> Any:
    """The value of a top-level key before any schema is known; None where it is not given."""
    value = None
    for layer in [*(_read_yaml(path) for path in layers), parse_overrides(overrides)]:
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
            values[key] = value.name if isinstance(value, Path) else value
    return values


def config_hash(config: Config) -> str:
    """Eight hex digits that name a run: equal for equal science, whatever the machine and the folder."""
    text = json.dumps(science(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(old: Config, new: Config) -> list[str]:
    """Lines such as `train.steps: 700 -> 900` for every scientific key that differs."""
    before, after = science(old), science(new)
    keys = sorted(before.keys() | after.keys())
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in keys if before.get(key) != after.get(key)]


def save_yaml(config: Config, path: Path) -> None:
    """Write the resolved configuration; `load_config` reads it back to an equal one."""
    path.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _read_yaml(path: Path) -> Layer:
    if not path.is_file():
        near = sorted(p.stem for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = f" There are: {', '.join(near)}." if near else ""
        raise UserError(f"{path}: no such configuration file.{hint}")
    try:
        layer = yaml.safe_load(path.read_text(encoding="utf-8"))
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
        elif isinstance(value, str | Path) and (kind is Path or kind == Path | None):
            layer[name] = str(base / Path(value).expanduser())


def _valid_keys(schema: type[Config], prefix: str = "") -> Iterator[str]:
    for name, _, nested in _parts(schema):
        if nested is None:
            yield f"{prefix}{name}"
        else:
            yield from _valid_keys(nested, f"{prefix}{name}.")


def _explain(schema: type[Config], error: ValidationError, origins: Mapping[str, str]) -> str:
    """The first problem as one line: which key, from where, what is wrong, what would be right."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    # The problem may be a whole section, or a single number of a list, which have no origin of their own.
    near_by = (o for k, o in origins.items() if f"{k}.".startswith(f"{key}.") or f"{key}.".startswith(f"{k}."))
    origin = next(near_by, "the configuration")
    if problem["type"] == "extra_forbidden":
        valid = list(_valid_keys(schema))
        # Someone who forgets the section (steps for train.steps) is helped by the match of the last part.
        same_name = [k for k in valid if k.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        sections = sorted({k.rsplit(".", 1)[0] for k in valid if "." in k})
        near = same_name or difflib.get_close_matches(key, [*valid, *sections], n=1, cutoff=0.0)
        return f"{key}: unknown key in {origin}; did you mean {near[0]}?"
    if problem["type"] == "missing":
        return f"{key}: this key has no value; give it in a configuration file or as {key}=VALUE."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{key}: {message[0].lower()}{message[1:]}, but {origin} gives {problem['input']!r}."
