"""documents: describes questions for the OpenAPI document: as JSON, and as a form with files."""

from __future__ import annotations

from pipelines.service.schemas import Question
from pipelines.service.uploads import READER_OPTIONS
from vitlens_core import modalities


def body(kind: type[Question]) -> dict[str, object]:
    """Describe a question for OpenAPI: as JSON, with its example, and as a form with files."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    item = schema.pop("$defs")["Item"]
    for group in kind.GROUPS:
        schema["properties"][group]["items"] = item
    content = {
        "application/json": {"schema": schema, "example": schema["examples"][0]},
        "multipart/form-data": {"schema": _form(kind, schema["properties"])},
    }
    return {"requestBody": {"required": True, "content": content}}


def _form(kind: type[Question], properties: dict[str, object]) -> dict[str, object]:
    """Describe a question as a form: a field for each modality and set, and its settings."""
    fields: dict[str, object] = {}
    for group in kind.GROUPS:
        prefix = f"{group}." if len(kind.GROUPS) > 1 else ""
        for name in modalities.names():
            several = {"type": "array", "items": {"type": "string", "format": "binary"}}
            if name == "text":
                several["items"] = {"type": "string"}
            fields[f"{prefix}{name}"] = several
    fields["reader_options"] = {"type": "string", "description": READER_OPTIONS}
    settings = {name: value for name, value in properties.items() if name not in kind.GROUPS}
    sets = " and ".join(f"`{group}.`" for group in kind.GROUPS)
    prefixed = f", with {sets} before it for the two sets" if len(kind.GROUPS) > 1 else ""
    described = f"Files and texts in fields named after their modality{prefixed}; settings by name."
    return {"type": "object", "description": described, "properties": fields | settings}
