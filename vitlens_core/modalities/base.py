"""Defines what a modality is: from a file to a signal, and from a signal to a network's input.

    file ─ read ─▶ raw ─ store ─▶ signal ─ prepare, augment ─▶ network's input ─ build ─▶ tokens
                   SignalConfig            TokenizerConfig

*raw* is one recording as a file holds it, of any length or size. A *signal* has a fixed shape, so
that signals can be stacked; shards store signals.

    Modality
    ├── LensedModality      has a tower of its own: tokenizer, lens, frozen trunk
    └── FoundationModality  image, video and text: the foundation encodes them itself

Axes: B batch, V views, H height, W width, N points, K signals of one object.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from vitlens_core.errors import ConfigError
from vitlens_core.late import torch
from vitlens_core.network_settings import LensSettings, TrunkSettings
from vitlens_core.readers.formats import Format
from vitlens_core.row_generator import RowGenerator

if TYPE_CHECKING:
    from vitlens_core.rendering import RenderSettings


class SignalConfig(BaseModel, ABC):
    """What is stored of a recording. Every field changes the stored bytes.

    Attributes:
        raw_shape: shape of a raw recording; -1 for an axis of any length.
        in_clips: a signal is a series of clips [S, …]; the tower averages their embeddings.
    """

    # Shards are identified by these settings alone, so that another network reads the same shards.
    model_config = ConfigDict(frozen=True, extra="forbid")

    raw_shape: ClassVar[tuple[int, ...]]
    in_clips: ClassVar[bool] = False

    @abstractmethod
    def store(self, raw: np.ndarray) -> np.ndarray:
        """Turn one raw array into its signal, float32 or uint8. Raises InputError."""

    @abstractmethod
    def example(self) -> np.ndarray:
        """Return a made-up raw recording that `store` takes, the same every time."""


SignalT = TypeVar("SignalT", bound=SignalConfig)


class TokenizerConfig(BaseModel, ABC, Generic[SignalT]):
    """What the tokenizer is and what of a stored signal it sees. No field changes stored bytes.

    Attributes:
        starts_as_patches: the tokenizer starts from the trunk's own patch embedding.
        mixes: whether two stored signals can be mixed (`mix`).
        width: width of a token. With an identity lens it must be the trunk's width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    starts_as_patches: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    width: int

    @abstractmethod
    def prepare(self, signals: torch.Tensor, signal: SignalT) -> torch.Tensor:
        """Turn stored signals [B, …] into the network's input. Raises InputError."""

    @abstractmethod
    def augment(
        self, signals: torch.Tensor, signal: SignalT, generator: RowGenerator
    ) -> torch.Tensor:
        """Turn stored signals [B, …] into one random variant each, as the network's input.

        Every draw comes from `generator`, so that a row sees the same variant at a step wherever it
        is: after a resume, on other workers, on a GPU. All that is made lies on its device.

        Raises:
            InputError: the signals are not those that `signal` describes.
        """

    @property
    def groups_seen(self) -> int | None:
        """Number of tokens, if they are no patches on the trunk's grid; a square number then."""
        return None

    def mix(
        self, signals: torch.Tensor, others: torch.Tensor, shares: torch.Tensor
    ) -> torch.Tensor:
        """Mix stored signals with others, both [B, …], at the signals' own shares [B] in (0, 1).

        Only where `mixes`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not mix signals")

    @abstractmethod
    def build(self, signal: SignalT) -> torch.nn.Module:
        """Build a tokenizer with random weights. Raises ConfigError if sizes do not fit."""

    def check(self, signal: SignalT) -> None:
        """Raise ConfigError if the network would see more than is stored."""

    def signal_needed(self, signal: SignalT) -> SignalT:
        """Return the least that must be stored of a recording for this tokenizer alone."""
        return signal


# For a modality that is chosen by name, whose signal no type checker knows.
AnyTokenizer: TypeAlias = TokenizerConfig[Any]


class Rendered(Protocol):
    """A rendered object: the renderer's result, or stored arrays that are decoded when read.

    Coordinates are in the stage's frame: metres, y up.
    """

    @property
    def points(self) -> np.ndarray:
        """Surface points [N, 6]: xyz and sRGB in 0..1, in farthest-point order."""
        ...

    @property
    def rgba(self) -> np.ndarray:
        """uint8 [V, H, W, 4], sRGB with straight alpha."""
        ...

    @property
    def depth_m(self) -> np.ndarray:
        """Planar depth [V, H, W]; 0 where nothing is seen."""
        ...

    @property
    def focal_px(self) -> float:
        """Focal length of all views' cameras."""
        ...


class Modality(ABC):
    """A kind of input that can be encoded into the foundation's space.

    Attributes:
        name: the name of its module.
        metric_prefix: its word in the names of metrics, such as `point` in point_to_text.
        templates: prompts for a class, each with one `{}`.
        takes: formats of the files that `read` takes.
    """

    name: ClassVar[str]
    metric_prefix: ClassVar[str]
    templates: ClassVar[tuple[str, ...]]
    takes: ClassVar[tuple[Format, ...]]

    @property
    def summary(self) -> str:
        """The first line of its docstring, for the model card."""
        return (inspect.getdoc(type(self)) or self.name).splitlines()[0]

    @abstractmethod
    def read(self, path: str | Path, *args: Any, **options: Any) -> Any:
        """Read the raw recording of a file. Options (keywords) say what the file does not.

        Raises:
            InputError: the file cannot be read, or an option is missing or does not fit it.
        """


class LensedModality(Modality, Generic[SignalT]):
    """A modality that a tower of its own encodes, through tokenizer and lens.

    Attributes:
        signal_file: extension of its stored signal in a shard.
        Signal, Tokenizer: the classes of its settings.
        lens, trunk: the settings with which ViT-Lens trained it.
        renders_as: whether a rendered object gives one sample, or one for each of its views;
            None if objects cannot be rendered as this modality.
        drawn_as: how a stored signal is drawn for people: by its shape, or as projected points.
    """

    signal_file: ClassVar[str]
    Signal: type[SignalT]
    Tokenizer: type[TokenizerConfig[SignalT]]
    lens: ClassVar[LensSettings] = LensSettings()
    trunk: ClassVar[TrunkSettings] = TrunkSettings()
    renders_as: ClassVar[Literal["object", "view"] | None] = None
    drawn_as: ClassVar[Literal["array", "points"]] = "array"

    @abstractmethod
    def read(self, path: str | Path, *args: Any, **options: Any) -> np.ndarray: ...

    def from_render(self, signal: SignalT, rendered: Rendered) -> np.ndarray:
        """Make a rendered object's stored signals [K, …]: one of the whole, or one of each view.

        Raises:
            ConfigError: objects cannot be rendered as this modality.
            BadSampleError: the object does not give such a signal.
        """
        raise ConfigError(f"rendered objects have no {self.name}; read recordings from a source")

    def check_renders(self, signal: SignalT, settings: RenderSettings) -> None:
        """Raise ConfigError if objects rendered with `settings` hold less than the signal needs."""


AnyLensed: TypeAlias = LensedModality[Any]
RawT = TypeVar("RawT")
EncoderT = TypeVar("EncoderT")


class FoundationModality(Modality, Generic[EncoderT, RawT]):
    """A modality that the foundation encodes itself: image, video or text."""

    @abstractmethod
    def read(self, path: str | Path, *args: Any, **options: Any) -> RawT: ...

    @abstractmethod
    def store(self, raw: object, side_px: int) -> RawT:
        """Check one raw input; pictures become squares of `side_px`. Raises InputError."""

    @abstractmethod
    def embed(self, encoder: EncoderT, stored: Sequence[RawT]) -> torch.Tensor:
        """Embed a batch of stored inputs: unit norm, [B, E]."""
