"""config: all settings of a run, checked before any work starts.

Reads     a workflow's base settings, one profile and `--set a.b=c` overrides, in this order.
Promises  a frozen `RunConfig`, or one `ConfigError` that lists every mistake with its dotted
          path, what was found and what is valid. A user's mistake raises no other error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from pipelines.benchmarks import datasets as benchmarks
from pipelines.benchmarks.step import BenchmarksConfig
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Resources
from pipelines.foundation.step import SIZES, FoundationConfig, Teachers
from pipelines.index.step import IndexConfig
from pipelines.lens.step import LensConfig
from pipelines.objects.step import ObjectsConfig
from pipelines.registry.acceptance import STANDING
from pipelines.registry.gates.base import AnyGate
from pipelines.registry.gates.threshold import Threshold
from pipelines.registry.settings import AcceptanceConfig, TrackingConfig
from pipelines.renders.step import RendersConfig
from pipelines.shards.step import ShardsConfig
from pipelines.source.datasets import AnySource
from pipelines.targets.step import TargetsConfig
from vitlens_core import modalities
from vitlens_core.errors import ConfigError, unknown
from vitlens_core.foundation import brings_own_sizes
from vitlens_core.kinds import OneOf
from vitlens_core.modalities.base import SignalConfig
from vitlens_core.models.tower_settings import TowerSettings

Settings = dict[str, object]
Path = tuple[str | int, ...]

# Filled in from the modality's name and from the gate's key; users do not set them.
_DERIVED = {"modality", "gates.*.name"}
_SHOWN_CHARACTERS = 60


class RunConfig(BaseModel):
    """One run of one modality: a section per step, the gates, loggers and resources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    objects: ObjectsConfig = ObjectsConfig()
    renders: RendersConfig = RendersConfig()
    source: AnySource | None = Field(
        None, description="data set to read instead of rendering objects; `kind` names its format"
    )
    signal: dict[str, object] = Field(
        default_factory=dict, description="the signal that is stored: the modality's `SignalConfig`"
    )
    shards: ShardsConfig = ShardsConfig()
    foundation: FoundationConfig = FoundationConfig()
    teachers: Teachers = Field(
        default_factory=dict,
        description="registered lenses that teach, by name; the foundation is then theirs",
    )
    targets: TargetsConfig = TargetsConfig()
    lens: LensConfig = LensConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    index: IndexConfig = IndexConfig()
    gates: dict[str, AnyGate] = Field(
        default_factory=dict, description="gates by name; `kind` is `threshold` by default"
    )
    acceptance: AcceptanceConfig = AcceptanceConfig()
    tracking: TrackingConfig = TrackingConfig()
    resources: Resources = Field(default_factory=Resources)

    @field_validator("gates", mode="before")
    @classmethod
    def _name_gates(cls, value: object) -> object:
        if not isinstance(value, Mapping):
            return value
        return {
            name: {**gate, "name": name} if isinstance(gate, Mapping) else gate
            for name, gate in value.items()
        }

    def tower(self) -> TowerSettings:
        """Return the settings of the tower: the stored signal, and the network that reads it.

        What the settings leave unsaid of lens and trunk is as ViT-Lens trained the modality.

        Raises:
            ConfigError: the network needs more than is stored.
        """
        known = modalities.load_lensed(self.modality)
        network = self.lens.model_dump(exclude={"train"})
        for name, published in (("lens", known.lens), ("trunk", known.trunk)):
            stated = getattr(self.lens, name).model_dump(exclude_unset=True)
            network[name] = published.model_dump() | stated
        return TowerSettings.model_validate(
            {"modality": self.modality, "signal": self.signal, **network}
        )


def load_run_config(
    modality: str,
    base: Mapping[str, object],
    profile: Mapping[str, object],
    overrides: Sequence[str] = (),
) -> RunConfig:
    """Merge base ← profile ← overrides: sections key by key, lists as a whole.

    `base` declares the gates; profiles and overrides can only change their settings.

    Raises:
        ConfigError: an unknown modality, key or gate, a wrong type or value, or an override
            that is not `a.b=c`; the message lists every mistake.
    """
    known = modalities.load_lensed(modality)
    settings = layered(base, profile, overrides)
    # In stages: a later check reads what an earlier one has found to be in order.
    mistakes = [*_no_sections(settings), *_reserved(settings, base), *_not_finite(settings)]
    if not mistakes:
        tokenizer = _section(_section(settings, "lens"), "tokenizer")
        mistakes += _mistakes(known.Signal, _section(settings, "signal"), ("signal",))
        mistakes += _mistakes(known.Tokenizer, tokenizer, ("lens", "tokenizer"))
        settings |= {"modality": modality}
        mistakes += _mistakes(RunConfig, settings)
    if not mistakes:
        config = RunConfig.model_validate(settings)
        mistakes += _contradictions(config)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return config


def layered(
    base: Mapping[str, object], profile: Mapping[str, object], overrides: Sequence[str] = ()
) -> Settings:
    """Merge base ← profile ← overrides.

    Sizes of a foundation do not outlive it: those that lie below a layer which names a published
    model were stated for a `lit` space. Overrides are one layer, as one user states them.

    Raises:
        ConfigError: an override is not `a.b=c`.
    """
    settings: Settings = {}
    for layer in (base, profile, merged(map(parse_override, overrides))):
        spec = _section(layer, "foundation").get("spec")
        if isinstance(spec, str) and brings_own_sizes(spec) and "foundation" in settings:
            kept = _section(settings, "foundation")
            settings["foundation"] = {k: v for k, v in kept.items() if k not in SIZES}
        settings = merged([settings, layer])
    return settings


def merged(layers: Iterable[Mapping[str, object]]) -> Settings:
    """Merge layers; later ones win. Mappings are merged key by key, other values replaced."""
    result: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            before = result.get(key)
            both = isinstance(before, Mapping) and isinstance(value, Mapping)
            result[key] = merged([before, value]) if both else value
    return result


def parse_override(text: str) -> Settings:
    """Parse `a.b=c` to `{"a": {"b": c}}`; the value is YAML, so lists, numbers and null work."""
    path, equals, value = text.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(
            f"override {text!r}: expected section.key=value, such as renders.size_px=112"
        )
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        shown = f"{text[:200]!r}: its value is not YAML"
        raise ConfigError(f"override {shown}: {str(error)[:500]}") from error
    for key in reversed(keys):
        parsed = {key: parsed}
    return parsed


def _section(settings: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = settings.get(key, {})
    return value if isinstance(value, Mapping) else {}


def _not_finite(settings: Mapping[str, object], place: str = "") -> Iterator[str]:
    """List numbers that are NaN or infinite: comparisons with bounds let them pass, or none."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _not_finite(value, f"{place}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            yield f"{place}{key}: expected a finite number, found {value}"


def _no_sections(settings: Settings) -> Iterator[str]:
    """List values that stand in the place of sections which are read before any model."""
    for path in ("signal", "lens", "lens.tokenizer", "gates"):
        outer, _, key = path.rpartition(".")
        value = (_section(settings, outer) if outer else settings).get(key, {})
        if not isinstance(value, Mapping):
            yield f"{path}: expected a section of keys and values; found {_shown(value)}"


def _reserved(settings: Settings, base: Mapping[str, object]) -> Iterator[str]:
    """List keys of the models that users may not set, and gates that `base` does not declare."""
    if "modality" in settings:
        yield "modality: this is an argument of the run, not a setting"
    declared = _section(base, "gates")
    for name, gate in _section(settings, "gates").items():
        if name not in declared:
            yield f"gates: {unknown('gate', name, declared)}"
        elif name in STANDING:
            yield (
                f"gates.{name}: every modality has a gate of this name (`acceptance`); choose "
                "another name"
            )
        elif isinstance(gate, Mapping) and "name" in gate:
            yield f"gates.{name}.name: a gate is named by its key"


def _mistakes(model: type[BaseModel], value: object, prefix: Path = ()) -> list[str]:
    """Return the mistakes that `model` finds in `value`, one line each.

    This is the only place that reads pydantic's errors.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [_line(model, value, prefix, detail) for detail in details]
    return []


def _line(model: type[BaseModel], value: object, prefix: Path, detail: ErrorDetails) -> str:
    location, kind = detail["loc"], detail["type"]
    path = ".".join(map(str, prefix + location))
    if kind == "extra_forbidden":
        return _unknown_key(model, value, prefix, location)
    if kind == "missing":
        return f"{path}: missing"
    if kind == "unknown_kind":
        return f"{path}.kind: {detail['msg']}"
    if kind == "value_error":
        return f"{path}: {detail['ctx']['error']}"
    expected = detail["msg"].removeprefix("Input should be ")
    if kind in {"model_type", "dict_type"}:
        keys = _keys(_model_at(model, value, location), prefix + location)
        expected = f"a section with the keys {', '.join(keys)}"
    elif kind == "tuple_type":
        expected = "a list, such as [a, b]"
    return f"{path}: expected {expected}; found {_shown(detail['input'])}"


def _unknown_key(model: type[BaseModel], value: object, prefix: Path, location: Path) -> str:
    section, key = location[:-1], str(location[-1])
    path = ".".join(map(str, prefix + section))
    keys = _keys(_model_at(model, value, section), prefix + section)
    similar = get_close_matches(key, keys, cutoff=0.7)  # of the section that was meant
    elsewhere = [p for p in _paths(RunConfig) if p.rpartition(".")[2] == key and not similar]
    return f"{path + '.' if path else ''}{key}: {unknown('key', key, keys, near=elsewhere)}"


def _model_at(model: type[BaseModel], value: object, location: Path) -> type[BaseModel]:
    """Return the model of a section; keys of a mapping and positions in a list are skipped.

    If a section has several kinds, it is the model of the kind that `value` names.
    """
    one_of = None
    for part in location:
        if part in model.model_fields:
            field = model.model_fields[str(part)]
            one_of = OneOf.of(field)
            model = _model_in(field.annotation) or model
        value = _part(value, part)
        model = (one_of.chosen(value) if one_of else None) or model
    return model


def _part(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part)
    return value[part] if isinstance(value, list) and isinstance(part, int) else None


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for arg in get_args(annotation) if (model := _model_in(arg))), None)


def _keys(model: type[BaseModel], section: Path) -> list[str]:
    pattern = ("gates", "*") if section[:1] == ("gates",) else section
    return [
        key for key in model.model_fields if ".".join((*map(str, pattern), key)) not in _DERIVED
    ]


def _paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every dotted path that can be set, including sections."""
    for key in _keys(model, tuple(prefix.split(".")[:-1])):
        yield prefix + key
        inner = _model_in(model.model_fields[key].annotation)
        if inner and key != "gates":
            yield from _paths(inner, f"{prefix}{key}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _contradictions(config: RunConfig) -> Iterator[str]:
    """Yield the conflicts between settings that are valid by themselves."""
    try:
        config.lens.train.weights(config.teachers)
    except ConfigError as error:
        yield str(error)
    if config.lens.train.token_weight and not config.targets.token_views:
        yield (
            "lens.train.token_weight: no tokens are stored to train against; set "
            "targets.token_views to 1 or more, or token_weight to 0"
        )
    for name in config.lens.train.mirror_weights:
        if name not in config.objects.more:
            mistake = unknown("mirror of objects.more", name, config.objects.more)
            yield f"lens.train.mirror_weights: {mistake}"
    bounds = [gate for gate in config.gates.values() if isinstance(gate, Threshold)]
    measured = [bound.benchmark for bound in bounds if bound.benchmark]
    if config.benchmarks.roots or measured:
        try:
            benchmarks.check([*config.benchmarks.roots, *measured], [config.modality])
        except ConfigError as error:
            yield str(error)
    try:
        tower = config.tower()
    except ConfigError as error:
        yield f"lens.{error}"
        return
    if config.lens.train.mix_up and not tower.tokenizer_config.mixes:
        yield (
            f"lens.train.mix_up: two signals of {config.modality} do not make a third; set it to 0"
        )
    signal = tower.signal_config
    if config.source is None:
        yield from _not_rendered(config, signal)


def _not_rendered(config: RunConfig, signal: SignalConfig) -> Iterator[str]:
    """Yield the reasons why rendered objects cannot give the signal."""
    modality = modalities.load_lensed(config.modality)
    if modality.renders_as is None:
        yield (
            f"source: rendered objects give {' and '.join(modalities.rendered())}, not "
            f"{config.modality}; state a source in the `base` of its defs.yaml"
        )
    try:
        renders = config.renders.settings()
    except ConfigError as error:
        yield f"renders.{error}"
        return
    try:
        modality.check_renders(signal, renders)
    except ConfigError as error:
        yield str(error)
