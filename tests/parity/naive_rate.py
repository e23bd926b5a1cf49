"""RATE again, in numpy, one pair of tokens at a time: written from the equations alone.

It knows the names of our parameters and nothing of our code. One row, no batch.

Axes: L tokens, D width, E head width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
CACHE, READ, TOKEN, WRITE = range(4)


@dataclass
class NaiveRATE:
    """A RATE model by its weights and settings, and where it is in an episode."""

    weights: dict[str, Array]
    block: str
    num_layers: int
    num_heads: int
    head_width: int
    cache_length: int
    valve_heads: int
    feed_forward: bool
    twofold_residual: bool
    cached: list[list[Array]] = field(default_factory=list)
    memory: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.memory = list(self.weights["memory_MD"])
        self.cached = [[] for _ in range(self.num_layers)]

    def read_segment(self, tokens_LD: Array) -> Array:
        """Reads one segment: returns the outputs at its tokens, moves memory and cache on."""
        count = len(self.memory)
        roles = [READ] * count + [TOKEN] * len(tokens_LD) + [WRITE] * count
        stream = [*self.memory, *tokens_LD, *self.memory]
        for layer in range(self.num_layers):
            inputs = list(stream)
            stream = self._layer(layer, stream, roles)
            rows = self.cached[layer] + inputs
            self.cached[layer] = rows[len(rows) - min(len(rows), self.cache_length) :]
        outputs = stream[count : count + len(tokens_LD)]
        self.memory = self._cross_attention_valve([relu(w) for w in stream[len(stream) - count :]])
        return np.array(outputs)

    def _layer(self, layer: int, stream: list[Array], roles: Sequence[int]) -> list[Array]:
        before_norm = self.block == "trxl"
        ahead = [x if before_norm else self._norm(x, layer, "attention") for x in stream]
        old = [x if before_norm else self._norm(x, layer, "attention") for x in self.cached[layer]]
        attended = self._attention(layer, ahead, old, roles)
        result = []
        for x, seen, a in zip(stream, ahead, attended, strict=True):
            update = a + seen if self.twofold_residual else a
            if before_norm:
                y = self._norm(x + update, layer, "attention")
                if self.feed_forward:
                    y = self._norm(y + self._feed_forward(y, layer), layer, "feed_forward")
            else:
                y = self._add(x, update, layer, "attention")
                if self.feed_forward:
                    inner = self._feed_forward(self._norm(y, layer, "feed_forward"), layer)
                    y = self._add(y, inner, layer, "feed_forward")
            result.append(y)
        return result

    def _attention(
        self, layer: int, stream: list[Array], old: list[Array], roles: Sequence[int]
    ) -> list[Array]:
        weight = {
            name: self.weights[f"attentions.{layer}.{name}.weight"]
            for name in ("qkv", "position", "out")
        }
        every, all_roles = [*old, *stream], [CACHE] * len(old) + list(roles)
        split = [(weight["qkv"] @ x).reshape(3, self.num_heads, self.head_width) for x in every]
        u, v = self.weights["content_bias_HE"], self.weights["position_bias_HE"]
        by_distance: dict[int, Array] = {}
        outputs = []
        for i in range(len(old), len(every)):
            heads = []
            for h in range(self.num_heads):
                scores = {}
                for j in range(len(every)):
                    if not may_see(i, j, all_roles):
                        continue
                    if i - j not in by_distance:
                        projected = weight["position"] @ sinusoid(i - j, len(every[0]))
                        by_distance[i - j] = projected.reshape(self.num_heads, self.head_width)
                    query, key = split[i][0, h], split[j][1, h]
                    score = (query + u[h]) @ key + (query + v[h]) @ by_distance[i - j][h]
                    scores[j] = score / math.sqrt(self.head_width)
                heads.append(weighted(scores, {j: split[j][2, h] for j in scores}))
            outputs.append(weight["out"] @ np.concatenate(heads))
        return outputs

    def _norm(self, x: Array, layer: int, which: str) -> Array:
        scale = self.weights[f"blocks.{layer}.norm_{which}.weight"]
        shift = self.weights[f"blocks.{layer}.norm_{which}.bias"]
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift

    def _feed_forward(self, x: Array, layer: int) -> Array:
        name = f"blocks.{layer}.feed_forward"
        hidden = relu(self.weights[f"{name}.0.weight"] @ x + self.weights[f"{name}.0.bias"])
        return self.weights[f"{name}.3.weight"] @ hidden + self.weights[f"{name}.3.bias"]

    def _add(self, x: Array, update: Array, layer: int, which: str) -> Array:
        update = relu(update)
        if self.block == "trxl_i":
            return x + update
        name = f"blocks.{layer}.gate_{which}"
        return gru_gate(
            x,
            update,
            np.split(self.weights[f"{name}.from_y.weight"], 3),
            [
                *np.split(self.weights[f"{name}.from_x.weight"], 2),
                self.weights[f"{name}.from_reset_x.weight"],
            ],
            self.weights[f"{name}.bias"],
        )

    def _cross_attention_valve(self, written: list[Array]) -> list[Array]:
        """Old memory asks what was written; with biases, without residual."""
        name = "valve.attention"
        of_q, of_k, of_v = np.split(self.weights[f"{name}.in_proj_weight"], 3)
        at_q, at_k, at_v = np.split(self.weights[f"{name}.in_proj_bias"], 3)
        out, at_out = self.weights[f"{name}.out_proj.weight"], self.weights[f"{name}.out_proj.bias"]
        memory = []
        for slot in self.memory:
            heads = []
            query = np.split(of_q @ slot + at_q, self.valve_heads)
            for h in range(self.valve_heads):
                keys = [np.split(of_k @ w + at_k, self.valve_heads)[h] for w in written]
                values = [np.split(of_v @ w + at_v, self.valve_heads)[h] for w in written]
                scores = {j: query[h] @ key / math.sqrt(len(key)) for j, key in enumerate(keys)}
                heads.append(weighted(scores, dict(enumerate(values))))
            memory.append(out @ np.concatenate(heads) + at_out)
        return memory


def may_see(i: int, j: int, roles: Sequence[int]) -> bool:
    """The rules of who sees whom, one pair at a time."""
    asks, asked = roles[i], roles[j]
    if asks == READ:
        return asked == READ
    if asks == WRITE:
        return asked != CACHE
    return asked in (CACHE, READ) or (asked == TOKEN and j <= i)


def sinusoid(distance: int, width: int) -> Array:
    """[sin(p w_0), sin(p w_1), ..., cos(p w_0), cos(p w_1), ...]."""
    angles = [distance / 10000 ** (2 * i / width) for i in range(width // 2)]
    return np.array([math.sin(a) for a in angles] + [math.cos(a) for a in angles])


def weighted(scores: dict[int, float], values: dict[int, Array]) -> Array:
    """The mean of the values, weighted by the softmax of the scores."""
    largest = max(scores.values())
    share = {j: math.exp(score - largest) for j, score in scores.items()}
    total = sum(share.values())
    return np.sum([share[j] / total * values[j] for j in scores], axis=0)


def relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def gru_gate(x: Array, y: Array, w: Sequence[Array], u: Sequence[Array], b: Array) -> Array:
    """The gate of GTrXL, from its equations; w and u hold the matrices of r, z and h."""
    r = sigmoid(w[0] @ y + u[0] @ x)
    z = sigmoid(w[1] @ y + u[1] @ x - b)
    h = np.tanh(w[2] @ y + u[2] @ (r * x))
    return (1 - z) * x + z * h
