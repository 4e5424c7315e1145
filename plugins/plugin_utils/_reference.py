# Copyright (c) quai contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the description of a declaration for editors (JSON Schema) and for people (a page of tables)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any, Final

from ansible_collections.quai.ops.plugins.plugin_utils._fields import FORMATS, MISSING, Field
from ansible_collections.quai.ops.plugins.plugin_utils._shape import walk

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
SCALARS: Final = ["string", "number", "boolean"]


def json_schema(project: Field) -> Schema:
    """Return JSON Schema (draft 2020-12). What one field alone cannot show, such as names of services, is not in it."""
    return {"$schema": DIALECT, "title": "A project of quai", **_schema(project)}


def _schema(field: Field) -> Schema:
    made = _type(field)
    if field.nullable:
        made["type"] = [made["type"], "null"]
    notes: Schema = {"description": _description(field)}
    if field.default is not MISSING:
        notes["default"] = field.default
    if field.example is not MISSING:
        notes["examples"] = [field.example]
    return {**notes, **made}


def _type(field: Field) -> Schema:
    """Return what the value must be, without words about it."""
    if field.kind == "object":
        return _object(field)
    if field.kind == "mapping":
        return _mapping(field)
    if field.kind == "list" and field.item:
        return {"type": "array", "items": _schema(field.item), **_least(field, "minItems")}
    simple: dict[str, Schema] = {
        "text": {"type": "string", **(_pattern(field.format) if field.kind == "text" else {})},
        "choice": {"type": "string", "enum": list(field.choices)},
        "scalar": {"type": SCALARS},
        "any": {"type": "object"},
    }
    return simple.get(field.kind) or {"type": field.kind, **_range(field)}


def _object(field: Field) -> Schema:
    always = [name for name, member in field.fields.items() if member.required and not member.when]
    rules = [rule for name, member in field.fields.items() if member.when for rule in _conditional(field, name, member)]
    rules += [{"oneOf": [{"required": [name]} for name in names]} for names in field.exactly_one]
    rules += [{"anyOf": [{"required": [name]} for name in names]} for names in field.at_least_one]
    rules += [{"not": {"required": list(pair)}} for names in field.at_most_one for pair in combinations(names, 2)]
    return {
        "type": "object",
        "properties": {name: _schema(member) for name, member in field.fields.items()},
        "additionalProperties": False,
        **({"required": always} if always else {}),
        **({"allOf": rules} if rules else {}),
    }


def _conditional(parent: Field, name: str, member: Field) -> Iterator[Schema]:
    if not member.when:
        raise AssertionError("asked for a member without a condition")
    sibling, values = member.when
    condition: Schema = {"properties": {sibling: {"enum": list(values)}}}
    if parent.fields[sibling].default not in values:
        condition["required"] = [sibling]
    yield {"if": {"not": condition}, "then": {"properties": {name: False}}}
    if member.required:
        yield {"if": condition, "then": {"required": [name]}}


def _mapping(field: Field) -> Schema:
    if not (field.keys and field.item):
        raise AssertionError("a mapping is described by its keys and its item")
    if field.keys.kind == "choice":
        names: Schema = {"enum": list(field.keys.choices)}
    else:
        names = _pattern(field.keys.format)
    return {
        "type": "object",
        "propertyNames": names,
        "additionalProperties": _schema(field.item),
        **_least(field, "minProperties"),
    }


def _pattern(format: str) -> Schema:
    return {"minLength": 1, "pattern": f"^(?:{FORMATS[format].pattern})$"}


def _least(field: Field, keyword: str) -> Schema:
    return {keyword: field.min_items} if field.min_items else {}


def _range(field: Field) -> Schema:
    return {
        **({"minimum": field.minimum} if field.minimum is not None else {}),
        **({"maximum": field.maximum} if field.maximum is not None else {}),
    }


def _description(field: Field) -> str:
    parts = [field.description]
    if field.unit:
        parts.append(f"In {field.unit}.")
    if field.refers_to:
        parts.append(f"A name under `{field.refers_to}`.")
    if field.when:
        parts.append(f"Only for {field.when[0]} {' or '.join(field.when[1])}.")
    return " ".join(parts)


# ---- for people ------------------------------------------------------------------------------------------------

HEAD: Final = """# What a project may declare

<!-- Made by tools/generate.py from plugins/plugin_utils/_schema.py; change that, not this. -->

One file per project, `projects/<name>.yml`, the same for every environment. A whole one can be as short as this:

```yaml
# yaml-language-server: $schema=project.schema.json
---
name: hello
title: Hello
services:
  web:
    image: hello/web
    port: 8090
    container_port: 80
    health: {http: /}
domains:
  web: {names: [hello.example.org], service: web}
probes:
  home: {domain: web}
release:
  verify: [home]
```

`ansible-playbook playbooks/explain.yml -e project=hello` prints what it becomes and touches no host. YAML is read as
version 1.2, as editors do: only `true` and `false` are switches, and a version such as `"20.10"` needs its quotes.

Secrets are named, never written: `secrets` lists them, and `${NAME}` in a service's `environment` or `files` stands for
the value, which reaches the process through a file of mode 0600. `$${NAME}` is the text `${NAME}` itself.

## What the inventory adds

| variable | what |
| --- | --- |
| group `<name>` | The hosts of the project; dashes of its name become underscores. |
| `vault_<name>` | Values of its secrets; `ansible-playbook playbooks/secrets.yml -e project=<name>` completes them. |
| `quai_environment` | Name of the environment; `production` when not given. |
| `quai_registry`, `quai_registry_mirror` | Where own images and pinned public ones are pulled from. |
| `quai_certificate` | `provider` and `challenge` of certificates where a domain names none. |
| `quai_versions.<name>` | The version to release when the command line names none. |
| `quai_settings.<name>` | Values of `settings`, checked like the declaration's own. |
| `quai_overrides.<name>` | The last word over derived variables, after the declaration's own `overrides`. |
| `quai_secrets_plaintext` | For a lab: secrets may be written without vault. |
| `quai_generate_supplied` | For a lab: placeholders for secrets that a person supplies. |
| `quai_projects_dir` | Where declarations are, when not in `projects/`. |

Unknown fields are errors. A field is required, has the default that is shown, or may be left out. *Source* names the
row of the requirements that a field or its figure comes from.

"""


def markdown(project: Field) -> str:
    """Return a page with one table per kind of object, and one of the formats of texts."""
    parts = [HEAD, *_sections(project, ""), *_formats(project)]
    return "".join(parts).rstrip("\n") + "\n"


def _sections(field: Field, path: str) -> Iterator[str]:
    yield f"### `{path}`\n\n" if path else "## Fields\n\n"
    yield f"{field.description}\n\n"
    for words, groups in (
        ("Exactly one of", field.exactly_one),
        ("At most one of", field.at_most_one),
        ("At least one of", field.at_least_one),
    ):
        for names in groups:
            yield f"{words} {_listed(names)}.\n\n"
    yield "| field | value | default | what | source |\n| --- | --- | --- | --- | --- |\n"
    paths = {name: f"{path}.{name}" if path else name for name in field.fields}
    for name, member in field.fields.items():
        value = _value(member, paths[name])
        yield f"| `{name}` | {value} | {_default(member)} | {_cell(member)} | {member.source} |\n"
    yield "\n"
    for name, member in field.fields.items():
        inner, inside = _inner(member, paths[name])
        if inner.kind == "object":
            yield from _sections(inner, inside)


def _formats(project: Field) -> Iterator[str]:
    used = {field.format for _path, field in walk(project)} | {
        field.keys.format for _path, field in walk(project) if field.keys
    }
    yield "## Formats\n\n| value | must be | example |\n| --- | --- | --- |\n"
    for name, item in FORMATS.items():
        if name in used:
            yield f"| {FORMAT_WORDS.get(name, name)} | {item.words} | `{item.example}` |\n"


FORMAT_WORDS: Final = {"line": "text", "text": "long text", "absolute": "absolute path", "relative": "relative path"}


def _inner(field: Field, path: str) -> tuple[Field, str]:
    """Return what is inside mappings and lists."""
    while field.kind in ("mapping", "list") and field.item:
        field, path = field.item, path + (".<name>" if field.kind == "mapping" else "[]")
    return field, path


def _value(field: Field, path: str) -> str:
    """Say what a value is, in a few words."""
    inner, inside = _inner(field, path)
    if inner.kind == "object":
        anchor = "".join(letter for letter in inside.lower() if letter.isalnum() or letter in "-_")
        words = f"[fields](#{anchor})"
    elif inner.refers_to:
        words = f"name under [`{inner.refers_to}`](#fields)"
    elif inner.kind == "choice":
        words = _listed(inner.choices)
    elif inner.kind == "text":
        words = FORMAT_WORDS.get(inner.format, inner.format)
    else:
        words = inner.words
    prefix = {"mapping": "names to ", "list": "list of "}.get(field.kind, "")
    return f"{prefix}{words}" + (" or null" if inner.nullable and inner.kind == "text" else "")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _default(field: Field) -> str:
    if field.required:
        return "**required**"
    if field.default is MISSING or field.default in ({}, []):
        return ""
    return f"`{json.dumps(field.default, ensure_ascii=False)}`"


def _cell(field: Field) -> str:
    example = "" if field.example is MISSING else f" Example: `{json.dumps(field.example, ensure_ascii=False)}`"
    when = f" Only for `{field.when[0]}` {_listed(field.when[1])}." if field.when else ""
    unit = f" In {field.unit}." if field.unit else ""
    return f"{field.description}{unit}{when}{example}".replace("|", "\\|").replace("\n", " ")
