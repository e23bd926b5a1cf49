"""The Memory Retention Valve: what the next segment inherits.

Axes: B batch, M memory tokens, D width, C width of the valve's own carry (0 for most kinds).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from retain.core.errors import ConfigError
from retain.nn.blocks import Gate
from retain.nn.checks import check_choice, check_positive, check_probability

ValveKind: TypeAlias = Literal[
    "cross_attention",
    "cross_attention_reversed",
    "gate",
    "gru",
    "lstm",
    "none",
    "retaining",
]
GateKind: TypeAlias = Literal["component", "hard_component", "token", "hard_token", "none"]
Activation: TypeAlias = Literal["relu", "leaky_relu", "elu", "tanh", "identity"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


@dataclass(frozen=True, kw_only=True)
class ValveConfig:
    """The Memory Retention Valve."""

    kind: ValveKind = "retaining"
    """How old memory M and written memory W make the next one. retaining: a memory of a few levels
    that a gated cross-attention changes, and that is otherwise copied bit for bit; cross_attention:
    M queries W (the paper's default); cross_attention_reversed: W queries M; gate: the gate of
    GTrXL; gru and lstm: one cell step; none: W replaces M (RMT)."""

    num_heads: int = 4
    """Heads of the cross-attention."""

    activation: Activation | None = None
    """Applied to what the write tokens hold before the valve sees it; not used by kind none. None:
    identity for the retaining valve, relu for the paper's kinds."""

    dropout: float = 0.0
    """Dropout of the cross-attention's weights, in training only."""

    levels: int = 3
    """retaining: values that a component can have, evenly spaced from -1 to 1; 0 for any value."""

    gate: GateKind = "component"
    """retaining: what decides how much is written. component: one gate a component; token: one a
    memory token; the hard ones close exactly, where the others come near zero at best; none: all is
    written anew."""

    dither: float = 0.25
    """retaining: half-width of the uniform noise added before rounding, in distances between
    levels (of three, without any), in training only and in half of the rows; it pushes held values
    away from the edge where rounding would flip them."""

    cost: float = 0.1
    """retaining: weight of the mean change |M' - M| of a segment in the loss."""

    commitment: float = 0.0
    """retaining: weight of the mean squared distance between the values and the levels that they
    are rounded to. It draws them away from the edges, so that neither noise nor another machine's
    arithmetic rounds them differently (the commitment of van den Oord et al. 2017, 1711.00937)."""


class Valve(nn.Module):
    """Makes the next memory from the old one and from what the write tokens hold.

    Source: RATE (arXiv 2306.09459), section 4 and appendix F.3 for the kinds; retaining is this
    library's.

    Args:
        config: The valve's settings.
        width: Width D of the memory tokens.

    Raises:
        ConfigError: If a setting does not make sense, or the width does not divide into the heads.
    """

    def __init__(self, config: ValveConfig, width: int):
        super().__init__()
        check_choice(config, "kind", get_args(ValveKind), "model.valve")
        if config.activation is not None:
            check_choice(config, "activation", ACTIVATIONS, "model.valve")
        check_positive(config, "num_heads", prefix="model.valve")
        check_probability(config, "dropout", prefix="model.valve")
        for name in ("dither", "cost", "commitment"):
            if getattr(config, name) < 0:
                raise ConfigError(
                    f"model.valve.{name} must not be negative, not {getattr(config, name)}"
                )
        check_choice(config, "gate", get_args(GateKind), "model.valve")
        if config.levels < 0 or config.levels == 1:
            raise ConfigError(
                f"model.valve.levels must be 0 for any value, or at least 2, not {config.levels}"
            )
        self.config = config
        self.kind = config.kind
        usual = "identity" if config.kind == "retaining" else "relu"
        self.activation = ACTIVATIONS[config.activation or usual]()
        self.carry_width = width if config.kind == "lstm" else 0
        if config.kind in ("cross_attention", "cross_attention_reversed", "retaining"):
            if width % config.num_heads:
                raise ConfigError(
                    f"model.valve.num_heads={config.num_heads} does not divide "
                    f"model.width={width}; choose a divisor"
                )
            self.attention = nn.MultiheadAttention(
                width, config.num_heads, dropout=config.dropout, batch_first=True
            )
        if config.kind == "retaining" and config.gate != "none":
            self.openness = nn.Linear(2 * width, 1 if "token" in config.gate else width)
            nn.init.zeros_(self.openness.bias)
        elif config.kind == "gate":
            self.gate = Gate(width)
        elif config.kind == "gru":
            self.gru = nn.GRUCell(width, width)
        elif config.kind == "lstm":
            self.lstm = nn.LSTMCell(width, width)

    def initial(self, parameter_MD: Tensor) -> Tensor:
        """Returns the first memory, [M, D], from the parameter that stands for it."""
        if self.kind == "retaining":
            return round_straight_through(torch.tanh(parameter_MD), self.config.levels)
        return parameter_MD

    def forward(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns the next memory, [B, M, D], and the valve's next carry, [B, M, C].

        Args:
            memory_BMD: The memory that the segment was read with.
            written_BMD: The outputs at the segment's write tokens.
            carry_BMC: The valve's carry (the cells of kind lstm; zero wide otherwise).
        """
        if self.kind == "none":
            return written_BMD, carry_BMC
        written = self.activation(written_BMD)
        if self.kind == "cross_attention":
            return self._attend(memory_BMD, written), carry_BMC
        if self.kind == "cross_attention_reversed":
            return self._attend(written, memory_BMD), carry_BMC
        if self.kind == "retaining":
            return self._retaining(memory_BMD, written), carry_BMC
        if self.kind == "gate":
            return self.gate(memory_BMD, written), carry_BMC
        batch, tokens, width = memory_BMD.shape
        flat_written, flat_memory = written.reshape(-1, width), memory_BMD.reshape(-1, width)
        if self.kind == "gru":
            return self.gru(flat_written, flat_memory).view(batch, tokens, width), carry_BMC
        hidden, cell = self.lstm(flat_written, (flat_memory, carry_BMC.reshape(-1, width)))
        return hidden.view(batch, tokens, width), cell.view(batch, tokens, width)

    def regularizer(
        self, memory_BMD: Tensor, written_BMD: Tensor, next_memory_BMD: Tensor
    ) -> Tensor | None:
        """What changing the memory over one segment costs, [B]; None for kinds without a cost.

        Args:
            memory_BMD: The memory that the segment was read with.
            written_BMD: The outputs at its write tokens.
            next_memory_BMD: What `forward` made of both.
        """
        config = self.config
        if self.kind != "retaining" or (config.cost == 0 and config.commitment == 0):
            return None
        cost = config.cost * (next_memory_BMD - memory_BMD).abs().mean(dim=(1, 2))
        if config.commitment and config.levels:
            x = self._moved(memory_BMD, self.activation(written_BMD))
            level = round_straight_through(x, config.levels).detach()
            cost = cost + config.commitment * ((x - level) ** 2).mean(dim=(1, 2))
        return cost

    def edge_distance(
        self, memory_BMD: Tensor, written_BMD: Tensor, carry_BMC: Tensor
    ) -> Tensor | None:
        """How near the memory came to being rounded to another level, [B]; None if none is rounded.

        Args:
            memory_BMD: As for `forward`.
            written_BMD: As for `forward`.
            carry_BMC: As for `forward`.
        """
        if self.kind != "retaining" or self.config.levels == 0:
            return None
        step = spacing(self.config.levels)
        x = self._moved(memory_BMD, self.activation(written_BMD))
        # Edges lie half-way between levels, and levels are whole numbers of steps from -1.
        return (((x + 1) / step % 1 - 0.5).abs() * step).flatten(1).amin(1)

    def _attend(self, query_BMD: Tensor, keys_BMD: Tensor) -> Tensor:
        return self.attention(query_BMD, keys_BMD, keys_BMD, need_weights=False)[0]

    def _retaining(self, memory_BMD: Tensor, written_BMD: Tensor) -> Tensor:
        # A held component is copied exactly while |gate * (candidate - memory)| is below half the
        # distance between levels: rounding takes the error away at every segment, so errors cannot
        # add up over a long episode.
        levels, dither = self.config.levels, self.config.dither
        x = self._moved(memory_BMD, written_BMD)
        if self.training and dither > 0:
            half = dither * (spacing(levels) if levels else 1.0)
            noise = torch.empty_like(x).uniform_(-half, half)
            # Half of the rows go without. If all had noise, a cheap code would be to leave values
            # near the edge and let the noise flip some of them: fine in training, gone when acting.
            x = x + noise * torch.randint(2, (x.shape[0], 1, 1), device=x.device)
        return round_straight_through(x, levels)

    def _moved(self, memory_BMD: Tensor, written_BMD: Tensor) -> Tensor:
        """The memory moved towards the candidate as far as the gate is open, before rounding."""
        candidate = self._attend(memory_BMD, written_BMD)
        gate = self._gate(torch.cat([memory_BMD, candidate], dim=-1))
        return memory_BMD + gate * (torch.tanh(candidate) - memory_BMD)

    def _gate(self, evidence_BMG: Tensor) -> Tensor:
        """How far the memory is moved towards the candidate, from 0 to 1."""
        if self.config.gate == "none":
            return evidence_BMG.new_ones(())
        gate = torch.sigmoid(self.openness(evidence_BMG))
        if self.config.gate.startswith("hard"):
            # Stretched, so that it is exactly zero below 1/12 (Louizos et al. 2018, 1712.01312).
            gate = (1.2 * gate - 0.1).clamp(0.0, 1.0)
        return gate


def spacing(levels: int) -> float:
    """The distance between neighbours of so many levels from -1 to 1."""
    return 2.0 / (levels - 1)


def round_straight_through(x: Tensor, levels: int = 3) -> Tensor:
    """Rounds to evenly spaced levels; the gradient passes as if only the clipping had been done.

    Args:
        x: Values.
        levels: How many levels there are from -1 to 1; 0 to clip only.
    """
    clipped = x.clamp(-1.0, 1.0)
    if levels == 0:
        return clipped
    step = spacing(levels)
    if levels % 2:
        rounded = (clipped / step).round() * step
    else:  # the levels lie half-way between multiples; at 1 itself the next one would be outside
        rounded = ((clipped / step).floor() + 0.5).clamp(max=(levels - 1) / 2) * step
    # In this order the value is a level exactly: what is added is zero.
    return rounded.detach() + (clipped - clipped.detach())
