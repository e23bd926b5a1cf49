"""Linformer (Wang et al. 2020, arXiv 2006.04768) over a streaming window.

The `canonical` transformer, but a token does not attend to the W tokens of its window. Their keys
and values are compressed to k rows first, by one learned linear map E over the places of the
window, and the token attends to those:

    K_r = sum over ages a of E_ra k_(i-a),  V_r likewise,  softmax(q_i . K / sqrt(D / H)) V

Places in front of the episode's beginning count as zeros. Every token has a window of its own, so
this is a causal convolution along time; it is done as one product with a banded matrix.

Axes: B batch, L tokens, S places, R compressed rows, W window, D width, H heads, E head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from retain.memory import ModelConfig
from retain.models import MODELS
from retain.models.canonical import Canonical, CanonicalConfig
from retain.nn.checks import check_positive
from retain.nn.window import Window


@dataclass(frozen=True, kw_only=True)
class LinformerConfig(CanonicalConfig):
    """Linformer over a streaming window."""

    registered_name: ClassVar[str] = "linformer"

    num_rows: int = 4
    """Rows that the keys and the values of a window are compressed to, k."""


@MODELS.register("linformer")
class Linformer(Canonical):
    """Linformer: attention to a few mixtures of the window.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = LinformerConfig

    def __init__(self, config: LinformerConfig, *, tokens_per_step: int):
        check_positive(config, "num_rows")
        super().__init__(config, tokens_per_step=tokens_per_step)
        bound = math.sqrt(6 / (self.window_size + config.num_rows))  # Xavier's
        shape = (config.num_rows, self.window_size)
        self.mixtures = nn.ParameterList(
            nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            for _ in range(config.num_layers)
        )

    def attention(self, query_BLD: Tensor, kept_BSC: Tensor, window: Window, layer: int) -> Tensor:
        """See `Canonical.attention`."""
        config = self.config
        batch, length, width = query_BLD.shape
        heads, head_width = config.num_heads, width // config.num_heads
        weight_RW = self.mixtures[layer]
        age_LS = window.ages().clamp(0, self.window_size - 1)
        mixture_RLS = weight_RW[:, age_LS]
        if window.masked or window.causal:
            mixture_BRLS = mixture_RLS * window.visible[:, None]
        else:
            mixture_BRLS = mixture_RLS[None]
        rows = weight_RW.shape[0]
        mixed = mixture_BRLS.flatten(1, 2) @ kept_BSC  # the same matrix for all rows, if it can be
        mixed = mixed.view(batch, rows, length, 2, heads, head_width)
        key, value = mixed.unbind(3)
        query = query_BLD.view(batch, 1, length, heads, head_width)
        score = (query * key).sum(-1, keepdim=True) / math.sqrt(head_width)
        weight = torch.softmax(score, dim=1)
        if self.training and config.dropout:
            weight = torch.dropout(weight, config.dropout, True)
        return (weight * value).sum(1).flatten(2)
