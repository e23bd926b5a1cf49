"""ELMUR and Stable Hadamard Memory against their equations written out.

The loops know the names of our parameters and nothing of our code: one row, one token, one slot and
one cell at a time. Everything is in float64.

Axes: B batch, L tokens, D width, M slots.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from retain.contract.trials import expect_same, run
from retain.core.errors import ConfigError
from retain.memory import SequenceModel
from retain.models import MODELS, build
from retain.models.elmur import ELMUR
from retain.models.stable_hadamard import StableHadamard, draw

WIDTH, CONTEXT = 8, 3
pytestmark = pytest.mark.usefixtures("float64")


def make(name: str, noise: float = 0.3, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = MODELS.get(name).Config(**({"width": WIDTH, "context_length": CONTEXT} | settings))
    model = build(config, tokens_per_step=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += noise * torch.randn_like(parameter)
    return model


def linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = weights[f"{name}.weight"] @ x
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    scaled = centred / torch.sqrt((centred**2).mean() + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def by_episode(x_LD: Tensor, reset_L: Tensor) -> list[Tensor]:
    starts = sorted({0, *reset_L.nonzero().flatten().tolist()})
    return [x_LD[a:b] for a, b in zip(starts, [*starts[1:], len(x_LD)], strict=True)]


class NaiveELMUR:
    """ELMUR over one episode, slot by slot."""

    def __init__(self, model: ELMUR):
        self.weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        self.config = model.config
        self.segment = model.segment_length

    def episode(self, x_LD: Tensor) -> Tensor:
        config = self.config
        slots = [list(self.weights[f"slots_MD.{n}"]) for n in range(config.num_layers)]
        anchors = [-1] * config.num_slots
        outputs = []
        for first in range(0, len(x_LD), self.segment):
            stream = list(x_LD[first : first + self.segment])
            end = first + len(stream)
            empty = [slot for slot, anchor in enumerate(anchors) if anchor < 0]
            chosen = empty[0] if empty else anchors.index(min(anchors))
            for n in range(config.num_layers):
                stream = self.tokens(n, stream, first, slots[n], anchors)
                if len(stream) == self.segment:
                    new = self.slot(n, slots[n][chosen], stream, first, anchors[chosen])
                    share = 1.0 if empty and not config.blend_empty else config.blend
                    slots[n][chosen] = share * new + (1 - share) * slots[n][chosen]
            if len(stream) == self.segment:
                anchors[chosen] = end - 1
            outputs += stream
        return torch.stack(outputs)

    def tokens(
        self, n: int, xs: list[Tensor], first: int, slots: list[Tensor], anchors: list[int]
    ) -> list[Tensor]:
        at = f"layers.{n}"
        result = []
        for i, x in enumerate(xs):
            y = norm(self.weights, f"{at}.norm_attention", x + self.attention(n, xs[: i + 1]))
            distances = [first + i - anchor for anchor in anchors]
            read = self.cross(f"{at}.read", y, slots, distances)
            result.append(self.feed_forward(n, "", norm(self.weights, f"{at}.norm_read", y + read)))
        return result

    def slot(self, n: int, slot: Tensor, xs: list[Tensor], first: int, anchor: int) -> Tensor:
        at = f"layers.{n}"
        distances = [first + i - anchor for i in range(len(xs))]
        read = self.cross(f"{at}.gather", slot, xs, distances)
        return self.feed_forward(n, "slot_", norm(self.weights, f"{at}.norm_gather", slot + read))

    def feed_forward(self, n: int, track: str, x: Tensor) -> Tensor:
        at = f"layers.{n}.{track}feed_forward"
        inner = linear(self.weights, f"{at}.0", x)
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        added = x + linear(self.weights, f"{at}.3", inner)
        return norm(self.weights, f"layers.{n}.norm_{track}feed_forward", added)

    def cross(self, at: str, x: Tensor, sources: list[Tensor], distances: list[int]) -> Tensor:
        heads, wide = self.config.num_heads, self.config.head_width
        table = self.weights[f"{at}.bias_RH"]
        query = linear(self.weights, f"{at}.query", x)
        pairs = [linear(self.weights, f"{at}.key_value", source) for source in sources]
        read = []
        for h in range(heads):
            part = slice(h * wide, (h + 1) * wide)
            scores = [
                query[part] @ pair[part] / math.sqrt(wide) + table[min(d, len(table)) - 1, h]
                for pair, d in zip(pairs, distances, strict=True)
            ]
            weight = torch.softmax(torch.stack(scores), 0)
            read.append(
                sum(w * p[heads * wide :][part] for w, p in zip(weight, pairs, strict=True))
            )
        return linear(self.weights, f"{at}.out", torch.cat(read))

    def attention(self, n: int, xs: list[Tensor]) -> Tensor:
        """What the last of the tokens attends to."""
        heads, wide, at = self.config.num_heads, self.config.head_width, f"layers.{n}.attention"
        inner = heads * wide
        projected = [linear(self.weights, f"{at}.qkv", x) for x in xs]
        frequency = 10000.0 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
        read = []
        for h in range(heads):
            part = slice(h * wide, (h + 1) * wide)
            query = projected[-1][:inner][part]
            scores = []
            for j, kv in enumerate(projected):
                angle = (len(xs) - 1 - j) * frequency
                place = linear(
                    self.weights, f"{at}.position", torch.cat([angle.sin(), angle.cos()])
                )
                content = (query + self.weights["content_bias_HE"][h]) @ kv[inner : 2 * inner][part]
                distance = (query + self.weights["position_bias_HE"][h]) @ place[part]
                scores.append((content + distance) / math.sqrt(wide))
            weight = torch.softmax(torch.stack(scores), 0)
            values = [kv[2 * inner :][part] for kv in projected]
            read.append(sum(w * v for w, v in zip(weight, values, strict=True)))
        return linear(self.weights, f"{at}.out", torch.cat(read))


class NaiveHadamard:
    """Stable Hadamard Memory over one episode, cell by cell."""

    def __init__(self, model: StableHadamard):
        self.weights = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        self.config = model.config

    def episode(self, x_LD: Tensor) -> Tensor:
        size, limit = self.config.memory_width, self.config.limit
        cells = [[0.0] * size for _ in range(size)]
        outputs = []
        for at, token in enumerate(x_LD):
            x = norm(self.weights, "norm", token)
            row = int(draw(torch.tensor(at))) % self.config.num_calibrations
            theta = self.weights["theta_NH"][0 if self.config.calibration == "single" else row]
            key, query = (self.share(linear(self.weights, name, x)) for name in ("key", "query"))
            value = linear(self.weights, "value", x)
            strength = 1 / (1 + math.exp(-float(linear(self.weights, "strength", x))))
            calibration = linear(self.weights, "calibration", x)
            read = torch.zeros(size)
            for i in range(size):
                for j in range(size):
                    scale = 1 + math.tanh(float(theta[i] * calibration[j]))
                    cell = cells[i][j] * scale + strength * float(value[i] * key[j])
                    if limit is not None:
                        cell = min(max(cell, -limit), limit)
                    cells[i][j] = cell
                    read[i] += cell * query[j]
            outputs.append(linear(self.weights, "out", read + linear(self.weights, "shortcut", x)))
        return torch.stack(outputs)

    def share(self, x: Tensor) -> Tensor:
        positive = x * (x > 0)
        return positive / (1e-5 + positive.sum())


NAIVE: dict[str, Any] = {"elmur": NaiveELMUR, "stable_hadamard": NaiveHadamard}

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("elmur", {"head_width": 5, "feed_forward": 6}),
    ("elmur", {"num_slots": 3, "max_distance": 4, "num_heads": 1}),
    ("elmur", {"num_slots": 1, "blend": 1.0, "num_layers": 1}),
    ("elmur", {"blend_empty": True, "blend": 0.3}),
    ("elmur", {"context_length": 1, "num_slots": 3}),
    ("stable_hadamard", {"memory_width": 5}),
    ("stable_hadamard", {"memory_width": 4, "num_calibrations": 3, "limit": None}),
    ("stable_hadamard", {"memory_width": 4, "calibration": "single", "limit": 0.5}),
]


@pytest.mark.parametrize(("name", "settings"), SETTINGS, ids=str)
def test_outputs_are_those_of_the_equations(name: str, settings: dict[str, Any]):
    model = make(name, **settings)
    x, reset = torch.randn(3, 4 * CONTEXT + 2, WIDTH), torch.zeros(3, 4 * CONTEXT + 2).bool()
    reset[1, 4], reset[2, 0], reset[2, 1] = True, True, True
    naive = NAIVE[name](model)
    with torch.no_grad():
        expected = torch.stack(
            [
                torch.cat([naive.episode(part) for part in by_episode(x_LD, reset_L)])
                for x_LD, reset_L in zip(x, reset, strict=True)
            ]
        )
        for cuts in ([], range(1, x.shape[1])):
            y, _ = run(model, x, model.initial_state(3), reset, cuts=cuts)
            expect_same(y, expected, f"{name} cut at {list(cuts)}", 1e-11)


def after(model: SequenceModel, segments: int) -> list[Any]:
    """States after each of some segments."""
    state, states = model.initial_state(2), []
    for _ in range(segments):
        _, state = model(torch.randn(2, CONTEXT, WIDTH), state)
        states.append(state)
    return states


def test_slots_are_written_in_turn_and_the_others_kept_bit_for_bit():
    model = make("elmur", num_slots=3, num_layers=2)
    before = model.initial_state(2)
    assert (before.written_BM == -1).all()
    for number, state in enumerate(after(model, 7)):
        for old, new in zip(before.slots_BMD, state.slots_BMD, strict=True):
            changed = (old != new).any(2)
            assert changed.tolist() == [[slot == number % 3 for slot in range(3)]] * 2
        assert (state.written_BM[:, number % 3] == (number + 1) * CONTEXT - 1).all()
        before = state


def test_an_empty_slot_is_replaced_unless_told_to_blend():
    """What is written into an empty slot leaves nothing of it where the track itself ignores it."""
    models = {blend: make("elmur", num_slots=2, blend_empty=blend) for blend in (False, True)}
    for blend, model in models.items():
        with torch.no_grad():
            for layer in model.layers:
                layer.norm_gather.weight.zero_()  # the new content depends on nothing old
            x = torch.randn(1, CONTEXT, WIDTH)
            _, state = model(x, model.initial_state(1))
            for first in model.slots_MD:
                first[0] += 1.0
            _, other = model(x, model.initial_state(1))
        moved = (state.slots_BMD[0][0, 0] - other.slots_BMD[0][0, 0]).abs().max()
        assert (moved > 0.1) == blend


def test_every_distance_of_elmur_has_a_row_of_its_own():
    """No distance between a token and a slot is beyond the table, or below one."""
    model = make("elmur", num_slots=3)
    seen: set[int] = set()
    for layer in model.layers:
        for attention in (layer.read, layer.gather):
            attention.register_forward_pre_hook(
                lambda _, given: seen.update(given[2].flatten().tolist())
            )
    after(model, 9)
    assert seen == set(range(1, 3 * CONTEXT + 1))
    assert len(model.layers[0].read.bias_RH) == 3 * CONTEXT


def test_time_does_not_change_what_elmur_does():
    """After a thousand times M segments the same slots and tokens give the same outputs."""
    model = make("elmur")
    *_, state = after(model, 4)
    late = 2 * CONTEXT * 10**6
    aged = replace(state, written_BM=state.written_BM + late, position_B=state.position_B + late)
    x = torch.randn(2, 3 * CONTEXT + 1, WIDTH)
    with torch.no_grad():
        assert torch.equal(model(x, state)[0], model(x, aged)[0])


def test_draws_are_fixed_and_even():
    rows = draw(torch.arange(128 * 400)) % 128
    counts = torch.bincount(rows, minlength=128)
    assert counts.min() > 300
    assert counts.max() < 500
    follow = torch.bincount(rows[:-1] * 128 + rows[1:], minlength=128 * 128)
    assert follow.max() < 20
    assert draw(torch.tensor(10**12)) >= 0
    assert (rows[:5].tolist()) == draw(torch.arange(5)).remainder(128).tolist()


def test_the_limit_holds_the_matrix_and_without_it_it_may_grow():
    for limit in (2.0, None):
        model = make("stable_hadamard", memory_width=4, limit=limit, calibration="single")
        with torch.no_grad():
            model.theta_NH.fill_(3.0)
            _, state = model(torch.randn(1, 1, WIDTH).expand(1, 60, -1), model.initial_state(1))
        assert (state.memory_BIJ.abs().max() <= 2.0) == (limit is not None)


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        *[
            ("elmur", {field: 0}, rf"model\.{field} must be at least 1, not 0")
            for field in ("context_length", "num_slots", "feed_forward", "max_distance")
        ],
        ("elmur", {"width": 7}, r"model\.width must be even"),
        ("elmur", {"blend": 0.0}, r"model\.blend must be above 0 and at most 1, not 0.0"),
        ("elmur", {"blend": 1.5}, r"model\.blend must be above 0 and at most 1, not 1.5"),
        ("elmur", {"attention_dropout": 1.0}, r"model\.attention_dropout must be"),
        ("stable_hadamard", {"memory_width": 0}, r"model\.memory_width must be at least 1, not 0"),
        ("stable_hadamard", {"num_calibrations": 0}, r"model\.num_calibrations must be"),
        ("stable_hadamard", {"limit": 0.0}, r"model\.limit must be above 0 or None, not 0.0"),
        ("stable_hadamard", {"calibration": "two"}, r"model\.calibration must be one of varied"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(name: str, settings: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        make(name, **settings)
