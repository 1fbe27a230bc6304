"""training: a regression from views to words as a start, then steps of language-model loss.

Reads     the foundation's embeddings of images, and of captions to choose by; no lens.
Promises  the language model is not changed. Strength of the regression and number of steps are
          chosen on validation objects, named by their images and by their captions: what names
          only images is no use to a lens, and captions are the other modality that is known
          without one. Of what is within one standard error of the best, the simplest is taken:
          the strongest regression, the fewest steps.

Axes: B objects of a step, V views, R rows of the regression, E embedding, W width of the language
model's input embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.connector.naming import Namer
from pipelines.connector.objects import Objects
from pipelines.connector.settings import ConnectorConfig
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.ask.connector import Connector
from vitlens_core.plugins.ask.language import NAMING, LanguageModel

_LONGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Trained:
    """A connector, and how it was chosen.

    Attributes:
        ridge: strength of the regression.
        step: after which it was taken; 0 is the regression alone.
        naming: share of validation objects that were named, by step: the mean of the shares by
            image and by caption.
    """

    connector: Connector
    ridge: float
    step: int
    naming: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Named:
    """A share of validation objects, and its standard error."""

    share: float
    error: float


Candidate = TypeVar("Candidate")


def simplest(candidates: Sequence[tuple[Candidate, Named]]) -> tuple[Candidate, Named]:
    """Return the first candidate, of simplest first, within one standard error of the best."""
    best = max((named for _, named in candidates), key=lambda named: named.share)
    return next(c for c in candidates if c[1].share >= best.share - best.error)


class Trainer:
    """Trains connectors of several seeds from one start."""

    def __init__(
        self, config: ConnectorConfig, language: LanguageModel, train: Objects, val: Objects
    ) -> None:
        self.config, self.language = config, language
        self.train, self.val = train, val
        self.device = language.model.device
        self.words = {name: language.of_word(name).cpu() for name in train.classes}
        self.ridge, self.start, self.start_naming = self._best_start()

    def run(self, seed: int, advance: Callable[[], None]) -> Trained:
        """Train the connector of a seed; `advance` is called after every step.

        Raises:
            ConfigError: the loss is no number.
        """
        generator = torch.Generator().manual_seed(seed)
        connector = self._connector(self.start, seed)
        weights = list(connector.residual.parameters())
        optimizer = torch.optim.AdamW(weights, lr=self.config.learning_rate)
        tried = [((0, _state(connector)), self.start_naming)]
        for step in range(1, self.config.steps + 1):
            loss = self._loss(connector, generator)
            if not loss.isfinite():
                raise ConfigError(
                    f"the connector's loss is {loss.item()} at step {step}: lower its learning "
                    "rate, or open the language model in float32"
                )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, _LONGEST_GRADIENT)
            optimizer.step()
            advance()
            if step % self.config.check_every == 0 or step == self.config.steps:
                tried.append(((step, _state(connector)), self._naming(connector)))
        (kept, state), _ = simplest(tried)
        connector.load_state_dict(state)
        naming = {step: named.share for (step, _), named in tried}
        return Trained(connector.cpu(), self.ridge, kept, naming)

    def _best_start(self) -> tuple[float, tuple[Tensor, Tensor], Named]:
        """Return the strength, weight and bias of a regression, and what it names."""
        views = torch.cat(self.train.views)
        names = [n for n, own in zip(self.train.names, self.train.views, strict=True) for _ in own]
        wanted = torch.stack([self.words[name] for name in names])
        tried = []
        for ridge in sorted(self.config.ridges, reverse=True):
            fitted = regression(views, wanted, ridge)
            tried.append(((ridge, fitted), self._naming(self._connector(fitted, 0))))
        (ridge, fitted), named = simplest(tried)
        return ridge, fitted, named

    def _connector(self, start: tuple[Tensor, Tensor], seed: int) -> Connector:
        weight, bias = start
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = Connector(weight.shape[1], weight.shape[0], self.config.hidden)
        made.linear.weight.data.copy_(weight)
        made.linear.bias.data.copy_(bias)
        lengths = torch.stack(list(self.words.values())).norm(dim=-1)
        made.scale.fill_(lengths.mean().item() / len(bias) ** 0.5)
        return made.to(self.device)

    def _loss(self, connector: Connector, generator: torch.Generator) -> Tensor:
        """Return the loss of one batch under one prompt, all drawn."""
        count = min(self.config.batch_size, len(self.train.names))
        rows = torch.randperm(len(self.train.names), generator=generator)[:count].tolist()
        mixed = torch.stack([_mixed(self.train.views[row], generator) for row in rows])
        noise = torch.randn(mixed.shape, generator=generator) * self.config.noise
        embedded = F.normalize(mixed + noise, dim=-1).to(self.device)
        prompt = NAMING[int(torch.randint(len(NAMING), (), generator=generator))]
        names = [self.train.names[row] for row in rows]
        return self.language.loss(prompt, connector(embedded), names)

    @torch.inference_mode()
    def _naming(self, connector: Connector) -> Named:
        """Tell how many validation objects are named first, by images and by captions."""
        soft = connector(self.train.means().to(self.device))
        namer = Namer.of(self.language, sorted({*self.train.classes, *self.val.classes}), soft)
        shares = []
        for names, embedded in ((self.val.names, self.val.means()), self.val.of_captions()):
            if names:
                hits = namer.hits(namer.scores(connector(embedded.to(self.device))), names)
                shares.append((float(hits.mean()), float(hits.var() / len(hits))))
        share = sum(share for share, _ in shares) / len(shares)
        return Named(share, sum(variance for _, variance in shares) ** 0.5 / len(shares))


def regression(views: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Fit views [R, E] to input embeddings [R, W]: the weight [W, E] and the bias [W].

    Args:
        ridge: strength of the penalty, relative to the mean variance of a dimension of the views.
    """
    # float64: the products of nearly equal views are close to singular.
    x, y = views.double(), wanted.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    products = x.T @ x
    penalty = ridge * products.diagonal().mean() * torch.eye(len(products), dtype=torch.double)
    weight = torch.linalg.solve(products + penalty, x.T @ y).T
    return weight.float(), (y_mean - weight @ x_mean).float()


def _mixed(views: Tensor, generator: torch.Generator) -> Tensor:
    """Return a drawn mixture [E] of an object's views [V, E]: every such mixture alike likely."""
    # Exponential draws over their sum are evenly spread over the simplex.
    drawn = -torch.rand(len(views), generator=generator).clamp(min=1e-9).log()
    return F.normalize((drawn / drawn.sum()) @ views, dim=-1)


def _state(connector: Connector) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in connector.state_dict().items()}
