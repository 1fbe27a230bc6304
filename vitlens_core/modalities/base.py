"""What a modality is: from a file to a signal, and from a signal to what a network sees.

    file ─ read ─▶ raw ─ store ─▶ signal ─ prepare, augment ─▶ network's input ─ build ─▶ tokens
                   SignalConfig            TokenizerConfig

*raw* is one recording as a file holds it, of any length or size. A *signal* has a fixed shape, so
that signals stack; it is what shards store.

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
from vitlens_core.models.settings import LensSettings, TrunkSettings

if TYPE_CHECKING:
    from vitlens_core.rendering import RenderSettings


class SignalConfig(BaseModel, ABC):
    """What is stored of a recording: every field decides the stored bytes.

    Attributes:
        raw_shape: of a raw recording; -1 for an axis of any length.
        in_clips: a signal is a series of clips [S, …]; the tower averages their embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raw_shape: ClassVar[tuple[int, ...]]
    in_clips: ClassVar[bool] = False

    @abstractmethod
    def store(self, raw: np.ndarray) -> np.ndarray:
        """One raw array → its signal, float32 or uint8. Raises InputError."""

    @abstractmethod
    def example(self) -> np.ndarray:
        """A made-up raw recording that `store` takes, the same every time."""


SignalT = TypeVar("SignalT", bound=SignalConfig)


class TokenizerConfig(BaseModel, ABC, Generic[SignalT]):
    """What the network is and what of a stored signal it sees; no field decides stored bytes.

    Attributes:
        starts_as_patches: the tokenizer starts from the trunk's own patch embedding.
        width: of a token. An identity lens hands tokens on: it must be the trunk's width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    starts_as_patches: ClassVar[bool] = False
    width: int

    @abstractmethod
    def prepare(self, signals: torch.Tensor, signal: SignalT) -> torch.Tensor:
        """Stored signals [B, …] → what the network sees. Raises InputError."""

    @abstractmethod
    def augment(
        self, signals: torch.Tensor, signal: SignalT, generator: torch.Generator
    ) -> torch.Tensor:
        """Stored signals [B, …] → one random variant each, as the network sees it.

        Raises:
            InputError: other signals than `signal` describes.
        """

    @abstractmethod
    def build(self, signal: SignalT) -> torch.nn.Module:
        """A tokenizer with random weights. Raises ConfigError: sizes that do not fit."""

    def check(self, signal: SignalT) -> None:
        """Raise ConfigError if the network would see more than is stored."""

    def signal_needed(self, signal: SignalT) -> SignalT:
        """What must be stored of a recording for this network alone; at most `signal`."""
        return signal


# Of a modality that is known by its name alone.
AnyTokenizer: TypeAlias = TokenizerConfig[Any]


class Rendered(Protocol):
    """A rendered object, as the renderer gives it or as a caller decodes it when asked.

    In the stage's frame: metres, y up.
    """

    @property
    def points(self) -> np.ndarray:
        """[N, 6]: xyz and sRGB in 0..1, in farthest-point order."""
        ...

    @property
    def rgba(self) -> np.ndarray:
        """uint8 [V, H, W, 4], sRGB with straight alpha."""
        ...

    @property
    def depth_m(self) -> np.ndarray:
        """[V, H, W] planar; 0 where nothing is seen."""
        ...

    @property
    def focal_px(self) -> float:
        """Focal length of the cameras of all views."""
        ...


class Modality(ABC):
    """Something that can be encoded into the foundation's space.

    Attributes:
        name: that of its module.
        metric_prefix: in the names of metrics: `point` of point_to_text.
        templates: prompts for a class, each with one `{}`.
    """

    name: ClassVar[str]
    metric_prefix: ClassVar[str]
    templates: ClassVar[tuple[str, ...]]

    @property
    def summary(self) -> str:
        """One line about it, for the model card."""
        return (inspect.getdoc(type(self)) or self.name).splitlines()[0]

    @abstractmethod
    def read(self, path: str | Path, *args: Any, **options: Any) -> Any:
        """The raw recording of a file. Options (keywords) say what the file does not.

        Raises:
            InputError: unreadable, or an option that is missing or does not fit the file.
        """


class LensedModality(Modality, Generic[SignalT]):
    """A modality that a tower of its own encodes, through tokenizer and lens.

    Attributes:
        signal_file: extension of its stored signal in a shard.
        Signal, Tokenizer: the classes of its settings.
        lens, trunk: what ViT-Lens trained with.
        renders_as: a rendered object is one sample of it, or each of the object's views is;
            None: objects cannot be rendered as this modality.
        drawn_as: how people are shown a stored signal: by its shape, or as projected points.
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
        """The stored signals of a rendered object [K, …]: of the whole, or of each view.

        Raises:
            ConfigError: objects cannot be rendered as this modality.
            BadSampleError: the object does not give such a signal.
        """
        raise ConfigError(f"rendered objects have no {self.name}; read recordings from a source")

    def check_renders(self, signal: SignalT, settings: RenderSettings) -> None:
        """Raise ConfigError if objects rendered so hold less than the signal does."""


AnyLensed: TypeAlias = LensedModality[Any]
RawT = TypeVar("RawT")
EncoderT = TypeVar("EncoderT")


class FoundationModality(Modality, Generic[EncoderT, RawT]):
    """A modality that the foundation encodes itself: image, video, text."""

    @abstractmethod
    def read(self, path: str | Path, *args: Any, **options: Any) -> RawT: ...

    @abstractmethod
    def store(self, raw: object, side_px: int) -> RawT:
        """One raw input, checked; pictures become squares of that side. Raises InputError."""

    @abstractmethod
    def embed(self, encoder: EncoderT, stored: Sequence[RawT]) -> torch.Tensor:
        """A batch of stored inputs → unit-norm embeddings [B, E]."""
