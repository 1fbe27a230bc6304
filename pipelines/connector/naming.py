"""naming: which class a language model names after a soft token, by ranked likelihood.

A likely word is likely after anything. So the log-likelihood of each name after a soft token
without content, the mean of those of the training objects, is subtracted.

Axes: B signals, K names, W width of the language model's input embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vitlens_core.plugins.ask.language import LanguageModel


@dataclass(frozen=True)
class Namer:
    """Scores names.

    Attributes:
        classes: the K names to choose among.
        without_content: log-likelihood of each after a soft token without content, [K].
    """

    language: LanguageModel
    classes: Sequence[str]
    without_content: Tensor

    @classmethod
    def of(cls, language: LanguageModel, classes: Sequence[str], soft: Tensor) -> Namer:
        """Make a namer; the mean of `soft` [B, W] is taken as the soft token without content."""
        mean = soft.mean(dim=0, keepdim=True)
        return cls(language, classes, language.log_likelihoods(mean, classes)[0])

    def scores(self, soft: Tensor) -> np.ndarray:
        """Return the scores of every name after soft tokens [B, W]: [B, K]."""
        found = self.language.log_likelihoods(soft, self.classes) - self.without_content
        return found.numpy()

    def hits(self, scores: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Tell for which rows of scores [B, K] the own name ranks above all others: bool [B]."""
        own = np.array([self.classes.index(name) for name in names])
        of_own = scores[np.arange(len(own)), own]
        # ≥: ties count as errors, so that a model that scores all alike is never right.
        return (scores >= of_own[:, None]).sum(axis=1) == 1
