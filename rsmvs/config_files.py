"""Files that follow from the options: the commented YAML configuration and the JSON schema.

`python -m rsmvs.config_files FOLDER` writes config.yaml and schema.json there; a test keeps those of the project equal.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

from rsmvs.config import as_dict
from rsmvs.io.manifests import write_text
from rsmvs.options import AreaOptions, Config, ImageOptions

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_WIDTH = 128
_HEADER = "# yaml-language-server: $schema={schema}\n"
_EXAMPLE = Config(
    images=(ImageOptions(path="img1.tif"), ImageOptions(path="img2.tif")),
    area=AreaOptions(crs="EPSG:32637", aoi=(315000.0, 4161000.0, 316000.0, 4162000.0)),
)


def commented_yaml(values: dict[str, Any], *, all_keys: bool) -> str:
    """A configuration as YAML with the meaning, unit and range of each option beside it.

    values: plain values as `as_dict` gives them; options that it lacks are written with their defaults: as live keys
    with `all_keys`, else commented out, for the reader to see what there is.
    """
    return "".join(f"{line}\n" for line in _section_lines(Config, values, 0, all_keys))


def _section_lines(cls: type, values: dict[str, Any], indent: int, all_keys: bool) -> list[str]:
    hints, lines, nested = typing.get_type_hints(cls), [], None
    for f in dataclasses.fields(cls):
        after_section, nested = bool(nested), _nested(hints[f.name])
        if nested and typing.get_origin(hints[f.name]) is tuple:
            lines += ["", *_comment(f.metadata["help"], indent), f"{' ' * indent}{f.name}:"]
            for item in values.get(f.name, ()):
                given = [(k, v) for k, v in item.items() if v is not None]
                lines += [f"{' ' * indent}  {'- ' if i == 0 else '  '}{k}: {_scalar(v)}" for i, (k, v) in enumerate(given)]
            lines += [*_comment("further keys of an image:", indent + 4), *_option_lines(nested, "path", indent + 4)]
        elif nested:
            inner = _section_lines(nested, values.get(f.name, {}), indent + 2, all_keys)
            live = all_keys or any(not line.lstrip().startswith("#") for line in inner if line)
            lines += ["", *_comment(f.metadata["help"], indent), f"{' ' * indent}{'' if live else '# '}{f.name}:", *inner]
        else:
            live = all_keys or f.name in values
            lines += [""] if after_section else []
            lines += _option(f, hints[f.name], values.get(f.name, _default(f)), indent, live)
    return lines[1:] if lines and lines[0] == "" else lines


def _option_lines(cls: type, skipped: str, indent: int) -> list[str]:
    hints = typing.get_type_hints(cls)
    return [
        line
        for f in dataclasses.fields(cls)
        if f.name != skipped
        for line in _option(f, hints[f.name], _default(f), indent, False)
    ]


def _option(f: dataclasses.Field[Any], hint: Any, value: Any, indent: int, live: bool) -> list[str]:
    """`key: value  # meaning [unit, range]`, or the meaning on lines of its own where it is long."""
    entry = f"{' ' * indent}{'' if live else '# '}{f.name}: {_scalar(value)}"
    meaning = _meaning(f)
    if len(entry) + len(meaning) + 4 <= _WIDTH:
        return [f"{entry}  # {meaning}"]
    return [*_comment(meaning, indent), entry]


def _meaning(f: dataclasses.Field[Any]) -> str:
    low, high, choices = (f.metadata[k] for k in ("low", "high", "choices"))
    notes = [f.metadata["unit"]] if f.metadata["unit"] else []
    if choices:
        notes.append("one of " + ", ".join(map(str, choices)))
    elif low is not None and high is not None:
        notes.append(f"{low:g} to {high:g}")
    elif low is not None or high is not None:
        notes.append(f"at least {low:g}" if low is not None else f"at most {high:g}")
    return f.metadata["help"] + (f" [{'; '.join(notes)}]" if notes else "")


def _comment(text: str, indent: int) -> list[str]:
    return [f"{' ' * indent}# {line}" for line in textwrap.wrap(text, _WIDTH - indent - 2)]


def _scalar(value: Any) -> str:
    """A value in YAML's flow style; JSON is that, except that plain words read better without quotes."""
    if isinstance(value, float) and value.is_integer():
        value = int(value) if abs(value) >= 1000 else value
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_scalar(v) for v in value) + "]"
    if isinstance(value, str) and value and all(c.isalnum() or c in "-_./:+" for c in value):
        plain = value[0].isalpha() or value[0] in "./"
        reserved = value.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n", "~")
        if plain and not reserved and not value.endswith(":"):
            return value
    return json.dumps(value)


def _default(f: dataclasses.Field[Any]) -> Any:
    return None if f.default is dataclasses.MISSING else f.default


def _nested(hint: Any) -> Any:
    """The option class of a section or of a list of sections; None for a plain value."""
    return next((a for a in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(a)), None)


def json_schema(cls: type = Config) -> dict[str, Any]:
    """JSON schema of a configuration, for editors and other programs; `rsmvs.config` makes the same checks."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "rsmvs configuration", **_object(cls)}


def _object(cls: type) -> dict[str, Any]:
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    required = [f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    node: dict[str, Any] = {"type": "object", "additionalProperties": False}
    node["properties"] = {f.name: _property(f, hints[f.name]) for f in fields}
    return node | ({"required": required} if required else {})


def _property(f: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"description": f.metadata["help"]}
    if f.metadata["unit"]:
        node["description"] += f" [{f.metadata['unit']}]"
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    if optional:
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    node |= _type(hint)
    for key, name in (("low", "minimum"), ("high", "maximum")):
        if f.metadata[key] is not None:
            node[name] = f.metadata[key]
    if f.metadata["choices"]:
        node["enum"] = [*f.metadata["choices"], *([None] if optional else [])]
    if optional:
        node["type"] = [node["type"], "null"]
    if f.default is not dataclasses.MISSING:
        node["default"] = f.default
    return node


def _type(hint: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(hint):
        return _object(hint)  # type: ignore[arg-type]
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(typing.get_args(hint)[0])}
    return {"type": _TYPES[hint]}


def default_yaml() -> str:
    """config/config.yaml: every option with its default, images and area as examples."""
    header = "# Every option with its default. A configuration needs 'images' and 'area'; leave out what shall stay as it is.\n"
    return _HEADER.format(schema="schema.json") + header + commented_yaml(as_dict(_EXAMPLE), all_keys=True)


def schema_text() -> str:
    return json.dumps(json_schema(), indent=1) + "\n"


def main(folder: str) -> None:
    write_text(Path(folder) / "config.yaml", default_yaml())
    write_text(Path(folder) / "schema.json", schema_text())


if __name__ == "__main__":
    main(*sys.argv[1:])
