"""ELMUR, external layer memory with update and rewrite (arXiv 2510.07151).

Every layer has M slots of its own. Its tokens attend to the present segment and to the slots; when
the segment is full, one slot is rewritten from the layer's outputs at the segment's tokens: the
first that is empty, else the one written longest ago. All other slots stay as they are, bit for
bit. Since a segment writes one slot, slot n mod M is the one that segment n writes.

Two ways lead through a segment and give the same numbers: at once, when a call brings a whole one
(training), and by appending tokens to stored keys and values (acting). Rows may be at different
places in their segments.

Axes: B batch, L tokens, D width, M slots, S tokens of a segment, H heads, E head width, Q queries,
R rows of a table of distances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from retain.core.errors import ConfigError
from retain.memory import MemoryState, ModelConfig, SequenceModel, cache, clock, slots
from retain.models import MODELS
from retain.nn.attention import RelativeAttention
from retain.nn.buffers import Buffers
from retain.nn.checks import check_positive, check_probability
from retain.nn.positions import Positions


@dataclass(frozen=True, kw_only=True)
class ELMURConfig(ModelConfig):
    """ELMUR."""

    registered_name: ClassVar[str] = "elmur"

    num_layers: int = 2
    """Layers, each with slots of its own."""

    num_heads: int = 2
    """Heads of all attentions."""

    head_width: int = 32
    """Width of one attention head."""

    feed_forward: int = 128
    """Inner width of the feed-forward sublayers, of tokens and of slots."""

    num_slots: int = 2
    """Slots of a layer, M."""

    blend: float = 0.79
    """Share of the new in a slot that is rewritten; 1 replaces the old."""

    blend_empty: bool = False
    """Blend also where a slot is written for the first time, as the published code does; else such
    a slot is replaced."""

    max_distance: int | None = None
    """Rows of the tables of distances between tokens and slots; greater distances share the last.
    None: M segments, beyond which there are none."""

    dropout: float = 0.0
    """Dropout of tokens, sublayers and outputs."""

    attention_dropout: float = 0.0
    """Dropout of the attention weights."""


@dataclass(frozen=True)
class ELMURState(MemoryState):
    """The slots, when they were written, and what there is of the present segment."""

    slots_BMD: tuple[Tensor, ...] = slots()
    """Slots of each layer."""
    keys_BHSE: tuple[Tensor, ...] = cache()
    """Keys of each layer in the present segment; meaningful below the place in it."""
    values_BHSE: tuple[Tensor, ...] = cache()
    """Values of each layer, likewise."""
    outputs_BSD: tuple[Tensor, ...] = cache()
    """Outputs of each layer, likewise: what a slot is written from."""
    written_BM: Tensor = clock()
    """Position of the newest token that a slot was written from; -1: still empty."""
    position_B: Tensor = clock()
    """Tokens read since the episode began."""


class SlotAttention(nn.Module):
    """Attention between tokens and slots with a learned bias for each head and distance.

    Args:
        config: Widths and dropout.
        num_distances: Rows R of the table; distance 1 has the first, R and all above it the last.
    """

    def __init__(self, config: ELMURConfig, num_distances: int):
        super().__init__()
        inner = config.num_heads * config.head_width
        self.num_heads = config.num_heads
        self.attention_dropout = config.attention_dropout
        self.query = nn.Linear(config.width, inner, bias=False)
        self.key_value = nn.Linear(config.width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, config.width, bias=False)
        self.bias_RH = nn.Parameter(torch.zeros(num_distances, config.num_heads))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, query_BQD: Tensor, source_BSD: Tensor, distance_BQS: Tensor) -> Tensor:
        """Reads the sources.

        Args:
            query_BQD: Tokens, or slots.
            source_BSD: Slots, or tokens.
            distance_BQS: How many tokens the token came after the one that the slot was written at.

        Returns:
            What was read, after the output projection and dropout, [B, Q, D].
        """
        index = (distance_BQS - 1).clamp(0, self.bias_RH.shape[0] - 1)
        query = self._heads(self.query(query_BQD))
        key, value = (self._heads(part) for part in self.key_value(source_BSD).chunk(2, dim=-1))
        bias = functional.embedding(index, self.bias_RH).permute(0, 3, 1, 2)
        read = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=bias.to(query.dtype),
            dropout_p=self.attention_dropout if self.training else 0.0,
        )
        return self.dropout(self.out(read.transpose(1, 2).flatten(2)))

    def _heads(self, x_BLA: Tensor) -> Tensor:
        batch, length, _ = x_BLA.shape
        return x_BLA.view(batch, length, self.num_heads, -1).transpose(1, 2)


class ELMURLayer(nn.Module):
    """The two tracks of a layer; every sublayer is added and then normalised.

    Args:
        config: The model's settings.
        num_distances: Rows of the tables of distances.
    """

    def __init__(self, config: ELMURConfig, num_distances: int):
        super().__init__()
        width, dropout = config.width, config.dropout
        self.attention = RelativeAttention(
            width, config.num_heads, config.head_width, dropout, config.attention_dropout
        )
        self.norm_attention = nn.LayerNorm(width)
        self.read = SlotAttention(config, num_distances)
        self.norm_read = nn.LayerNorm(width)
        self.feed_forward = _feed_forward(width, config.feed_forward, dropout)
        self.norm_feed_forward = nn.LayerNorm(width)
        self.gather = SlotAttention(config, num_distances)
        self.norm_gather = nn.LayerNorm(width)
        self.slot_feed_forward = _feed_forward(width, config.feed_forward, dropout)
        self.norm_slot_feed_forward = nn.LayerNorm(width)

    def tokens(
        self, x_BLD: Tensor, attended_BLD: Tensor, slots_BMD: Tensor, distance_BLM: Tensor
    ) -> Tensor:
        """Returns the layer's outputs from its inputs and what they attended to."""
        x_BLD = self.norm_attention(x_BLD + attended_BLD)
        x_BLD = self.norm_read(x_BLD + self.read(x_BLD, slots_BMD, distance_BLM))
        return self.norm_feed_forward(x_BLD + self.feed_forward(x_BLD))

    def written(self, slot_B1D: Tensor, outputs_BSD: Tensor, distance_B1S: Tensor) -> Tensor:
        """Returns what a slot would become, [B, 1, D], from the outputs at a segment's tokens."""
        slot_B1D = self.norm_gather(slot_B1D + self.gather(slot_B1D, outputs_BSD, distance_B1S))
        return self.norm_slot_feed_forward(slot_B1D + self.slot_feed_forward(slot_B1D))


class Work(Buffers):
    """The parts of a state while a call is at work on them."""

    keys: list[Tensor]
    values: list[Tensor]
    outputs: list[Tensor]

    def __init__(self, state: ELMURState, donate: bool):
        buffers = {
            "keys": state.keys_BHSE,
            "values": state.values_BHSE,
            "outputs": state.outputs_BSD,
        }
        super().__init__(state.batch_size, donate, **buffers)
        self.slots_BMD = list(state.slots_BMD)
        self.written_BM, self.position_B = state.written_BM, state.position_B

    def state(self) -> ELMURState:
        """Returns the parts as a state again."""
        return ELMURState(
            slots_BMD=tuple(self.slots_BMD),
            keys_BHSE=tuple(self.keys),
            values_BHSE=tuple(self.values),
            outputs_BSD=tuple(self.outputs),
            written_BM=self.written_BM,
            position_B=self.position_B,
        )


@MODELS.register("elmur")
class ELMUR(SequenceModel):
    """A transformer over segments with slots in every layer.

    Args:
        config: Its settings.
        tokens_per_step: Tokens that make one step of the environment.

    Raises:
        segmented = True
    ConfigError: If a number does not make sense.
    """

    Config: ClassVar[type[ModelConfig]] = ELMURConfig

    def __init__(self, config: ELMURConfig, *, tokens_per_step: int):
        super().__init__()
        _check(config)
        self.config = config
        self.segment_length = config.context_length * tokens_per_step
        self.positions = Positions(config.width, self.segment_length)
        shape = (config.num_heads, config.head_width)
        self.content_bias_HE = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        self.position_bias_HE = nn.Parameter(nn.init.xavier_uniform_(torch.empty(shape)))
        farthest = config.num_slots * self.segment_length
        distances = farthest if config.max_distance is None else min(config.max_distance, farthest)
        self.layers = nn.ModuleList(ELMURLayer(config, distances) for _ in range(config.num_layers))
        self.slots_MD = nn.ParameterList(
            torch.randn(config.num_slots, config.width) for _ in range(config.num_layers)
        )
        self.dropout = nn.Dropout(config.dropout)

    @property
    def reach(self) -> int | None:
        """See `SequenceModel.reach`: everything."""
        return None

    def initial_state(self, batch_size: int) -> ELMURState:
        """See `SequenceModel.initial_state`; the buffers are views of one zero until written."""
        config, segment = self.config, self.segment_length
        zero = self.content_bias_HE.new_zeros(1)
        keys = zero.expand(batch_size, config.num_heads, segment, config.head_width)
        outputs = zero.expand(batch_size, segment, config.width)
        position = torch.zeros(batch_size, dtype=torch.long, device=zero.device)
        return ELMURState(
            slots_BMD=tuple(first.expand(batch_size, -1, -1) for first in self.slots_MD),
            keys_BHSE=(keys,) * config.num_layers,
            values_BHSE=(keys,) * config.num_layers,
            outputs_BSD=(outputs,) * config.num_layers,
            written_BM=position[:, None].expand(-1, config.num_slots) - 1,
            position_B=position,
        )

    def forward(
        self,
        x_BLD: Tensor,
        state: ELMURState,
        reset_BL: Tensor | None = None,
        *,
        read_L: Sequence[bool] | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, ELMURState]:
        """See `SequenceModel.forward`; every output is made."""
        length, segment = x_BLD.shape[1], self.segment_length
        work = Work(state, donate)
        resets = [] if reset_BL is None else reset_BL.any(0).nonzero().flatten().tolist()
        outputs, at = [], 0
        while at < length:
            if reset_BL is not None and at in resets:
                self._reset(work, reset_BL[:, at])
            places = (work.position_B % segment).tolist()
            following = [reset for reset in resets if reset > at]
            stop = min([length, at + segment - max(places), *following[:1]])
            if max(places) == 0 and stop - at == segment:
                y_BLD, inner = self._read(x_BLD[:, at:stop], work, None)
                self._write(work, list(range(len(places))), inner)
            else:
                y_BLD, _ = self._read(x_BLD[:, at:stop], work, places)
                full = segment - (stop - at)
                self._write(work, [row for row, p in enumerate(places) if p == full], work.outputs)
            outputs.append(y_BLD)
            at = stop
        y_BLD = torch.cat(outputs, dim=1) if len(outputs) != 1 else outputs[0]
        return y_BLD, work.state()

    def _read(
        self, x_BLD: Tensor, work: Work, places: list[int] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Reads tokens that lie within the present segment of every row.

        Args:
            x_BLD: The tokens.
            work: The state.
            places: Where in its segment each row is; None when the tokens are a whole segment,
                which is then not stored.

        Returns:
            The outputs, and those of each layer.
        """
        length = x_BLD.shape[1]
        limit = length if places is None else max(places) + length
        start: int | Tensor = 0 if places is None else places[0]
        steps = torch.arange(length, device=x_BLD.device)
        columns = torch.arange(limit, device=x_BLD.device)
        if places is None or min(places) == max(places):
            blocked = columns > start + steps[:, None]
        else:
            start = work.position_B % self.segment_length
            blocked = (columns > (start[:, None] + steps)[:, :, None])[:, None]
        mask = torch.zeros(blocked.shape, dtype=x_BLD.dtype, device=x_BLD.device)
        mask = mask.masked_fill(blocked, -math.inf)
        position_BL = work.position_B[:, None] + steps
        distance_BLM = position_BL[:, :, None] - work.written_BM[:, None]
        x_BLD, inner = self.dropout(x_BLD), []
        for number in range(self.config.num_layers):
            layer = self._layer(number)
            query, key, value = layer.attention.project(x_BLD)
            if places is not None:
                key = work.write("keys", number, key, start, dim=2)[:, :, :limit]
                value = work.write("values", number, value, start, dim=2)[:, :, :limit]
            attended = layer.attention.attend(
                query,
                key,
                value,
                start=start,
                positions=self.positions,
                content_bias_HE=self.content_bias_HE,
                position_bias_HE=self.position_bias_HE,
                mask=mask,
            )
            x_BLD = layer.tokens(x_BLD, attended, work.slots_BMD[number], distance_BLM)
            inner.append(x_BLD)
            if places is not None:
                work.write("outputs", number, x_BLD, start, dim=1)
        work.position_B = work.position_B + length
        return self.dropout(x_BLD), inner

    def _write(self, work: Work, rows: list[int], outputs_BSD: Sequence[Tensor]) -> None:
        """Rewrites one slot of every layer in rows that have read all of their segment."""
        if not rows:
            return
        some, put = work.pick(rows), work.put(rows)
        written_BM, end_B1 = some(work.written_BM), some(work.position_B)[:, None]
        numbers = torch.arange(self.config.num_slots, device=end_B1.device)
        # The number breaks the tie between empty slots, for the first of them.
        oldest_B1 = (written_BM * len(numbers) + numbers).argmin(1, keepdim=True)
        chosen_BM = numbers == oldest_B1
        age_B1 = end_B1 - written_BM.gather(1, oldest_B1)
        steps = torch.arange(self.segment_length, device=end_B1.device)
        distance_B1S = (age_B1 - self.segment_length + steps)[:, None]
        blend = work.slots_BMD[0].new_full(oldest_B1.shape, self.config.blend)
        if not self.config.blend_empty:
            blend = blend.masked_fill(written_BM.gather(1, oldest_B1) < 0, 1.0)
        for number, given in enumerate(outputs_BSD):
            slots_BMD = some(work.slots_BMD[number])
            place = oldest_B1[:, :, None].expand(-1, -1, slots_BMD.shape[2])
            old_B1D = slots_BMD.gather(1, place)
            new_B1D = self._layer(number).written(old_B1D, some(given), distance_B1S)
            share = blend[:, :, None]
            blended = share * new_B1D + (1 - share) * old_B1D
            slots_BMD = torch.where(chosen_BM[:, :, None], blended.to(old_B1D.dtype), slots_BMD)
            work.slots_BMD[number] = put(work.slots_BMD[number], slots_BMD)
        work.written_BM = put(work.written_BM, torch.where(chosen_BM, end_B1 - 1, written_BM))

    def _reset(self, work: Work, reset_B: Tensor) -> None:
        # Keys, values and outputs need no reset: at the start of a segment nothing of them is read.
        for number, first_MD in enumerate(self.slots_MD):
            slots_BMD = work.slots_BMD[number]
            work.slots_BMD[number] = torch.where(reset_B[:, None, None], first_MD, slots_BMD)
        work.written_BM = work.written_BM.masked_fill(reset_B[:, None], -1)
        work.position_B = work.position_B.masked_fill(reset_B, 0)

    def _layer(self, number: int) -> ELMURLayer:
        return cast(ELMURLayer, self.layers[number])


def _feed_forward(width: int, inner: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, inner),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(inner, width),
        nn.Dropout(dropout),
    )


def _check(config: ELMURConfig) -> None:
    sizes = ("width", "context_length", "num_layers", "num_heads", "head_width")
    check_positive(config, *sizes, "feed_forward", "num_slots", "max_distance")
    check_probability(config, "dropout", "attention_dropout")
    if config.width % 2:
        raise ConfigError(f"model.width must be even for sinusoidal positions, not {config.width}")
    if not 0 < config.blend <= 1:
        raise ConfigError(f"model.blend must be above 0 and at most 1, not {config.blend}")
