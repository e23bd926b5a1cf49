"""Encoders are chosen by the space alone."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from retain.core.errors import ConfigError
from retain.nn.encoders import BytesEncoder, ImageEncoder, IndexEncoder, VectorEncoder, encode

WIDTH = 5


def _bytes(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


@pytest.mark.parametrize(
    ("space", "encoder"),
    [
        (spaces.Discrete(4), IndexEncoder),
        (spaces.Discrete(4, start=-3), IndexEncoder),
        (spaces.Box(-1, 1, ()), VectorEncoder),
        (spaces.Box(-1, 1, (3,)), VectorEncoder),
        (spaces.Box(-1, 1, (3, 2)), VectorEncoder),
        (spaces.Box(-1, 1, (4, 8, 8)), VectorEncoder),
        (_bytes(), BytesEncoder),
        (_bytes(7), BytesEncoder),
        (_bytes(2, 2), BytesEncoder),
        (_bytes(2, 9, 2), BytesEncoder),
        (_bytes(4, 2, 9, 2), BytesEncoder),
        (_bytes(2, 2, 3, 3, 3), BytesEncoder),
        (spaces.Box(0, 1, (7,), np.uint8), VectorEncoder),
        (spaces.Box(-9, 9, (7,), np.int8), VectorEncoder),
        (_bytes(2, 3, 3, 3), ImageEncoder),
        (_bytes(4, 36, 40, 3), ImageEncoder),
        (_bytes(4, 1, 7, 7), ImageEncoder),
        (_bytes(3, 3), ImageEncoder),
        (_bytes(3, 7, 7), ImageEncoder),
        (_bytes(7, 9, 3), ImageEncoder),
        (_bytes(3, 36, 36), ImageEncoder),
        (_bytes(64, 112, 3), ImageEncoder),
    ],
    ids=str,
)
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)], ids=str)
def test_points_of_a_space_become_vectors(
    space: gym.Space, encoder: type[nn.Module], lead: tuple[int, ...]
):
    space.seed(0)
    module = encode(space, WIDTH, what="observation")
    assert type(module) is encoder
    count = int(np.prod(lead))
    points = torch.as_tensor(np.stack([space.sample() for _ in range(count)]))
    flat = module(points)
    assert flat.shape == (count, WIDTH)
    shaped = module(points.reshape((*lead, *space.shape)))
    torch.testing.assert_close(shaped, flat.reshape((*lead, WIDTH)))


def test_images_are_read_alike_with_channels_first_and_last():
    first, last = ImageEncoder((3, 8, 9), WIDTH), ImageEncoder((8, 9, 3), WIDTH)
    last.load_state_dict(first.state_dict())
    image = torch.randint(256, (2, 3, 8, 9), dtype=torch.uint8)
    torch.testing.assert_close(first(image), last(image.permute(0, 2, 3, 1)))


def test_the_images_of_a_stack_are_its_channels():
    flat = ImageEncoder((12, 13, 14), WIDTH)
    first, last = ImageEncoder((4, 3, 13, 14), WIDTH), ImageEncoder((4, 13, 14, 3), WIDTH)
    first.load_state_dict(flat.state_dict())
    last.load_state_dict(flat.state_dict())
    stack = torch.randint(256, (2, 4, 3, 13, 14), dtype=torch.uint8)
    torch.testing.assert_close(first(stack), flat(stack.flatten(1, 2)))
    torch.testing.assert_close(last(stack.movedim(2, -1)), flat(stack.flatten(1, 2)))


def test_bytes_are_scaled_to_at_most_one():
    points = torch.randint(256, (64, 9), dtype=torch.uint8)
    module, plain = encode(_bytes(9), WIDTH, what="observation"), VectorEncoder((9,), WIDTH)
    assert not set(module.state_dict()) & set(plain.state_dict())  # no old weights by mistake
    plain.load_state_dict(module.scaled.state_dict())
    torch.testing.assert_close(module(points), plain(points / 255))
    small = encode(spaces.Box(0, 4, (9,), np.uint8), WIDTH, what="observation")
    plain.load_state_dict(small.scaled.state_dict())
    torch.testing.assert_close(small(points % 5), plain((points % 5) / 4))


def test_images_are_scaled_by_the_largest_byte_there_can_be():
    points = torch.randint(2, (5, 8, 9), dtype=torch.uint8)
    usual, binary = (
        encode(spaces.Box(0, high, (8, 9), np.uint8), WIDTH, what="observation")
        for high in (255, 1)
    )
    with pytest.raises(RuntimeError, match="largest"):  # no old weights by mistake
        binary.load_state_dict(usual.state_dict())
    weights = binary.state_dict()
    del weights["largest"]
    usual.load_state_dict(weights)
    torch.testing.assert_close(binary(points), usual(points * 255))


def test_grey_images_need_no_channel():
    plain, single = ImageEncoder((8, 9), WIDTH), ImageEncoder((1, 8, 9), WIDTH)
    single.load_state_dict(plain.state_dict())
    image = torch.randint(256, (2, 8, 9), dtype=torch.uint8)
    torch.testing.assert_close(plain(image), single(image[:, None]))


def test_large_images_get_the_stack_of_dqn():
    assert ImageEncoder((3, 84, 84), WIDTH).linear.in_features == 3136
    assert ImageEncoder((3, 64, 112), WIDTH).linear.in_features == 2560
    assert ImageEncoder((3, 36, 36), WIDTH).linear.in_features == 64
    assert ImageEncoder((3, 35, 80), WIDTH).convolutions[0].kernel_size == (2, 2)


def test_indices_begin_at_the_start_of_the_space():
    module = encode(spaces.Discrete(3, start=5), WIDTH, what="action")
    expected = torch.tanh(module.embedding.weight)
    torch.testing.assert_close(module(torch.tensor([5, 6, 7])), expected)


@pytest.mark.parametrize(
    "space", [spaces.MultiBinary(3), spaces.MultiDiscrete([2, 2]), spaces.Dict(), spaces.Text(4)]
)
def test_another_space_is_refused_in_one_line(space: gym.Space):
    with pytest.raises(ConfigError, match=r"observation space .* is not supported; use Box") as e:
        encode(space, WIDTH, what="observation")
    assert "\n" not in str(e.value)
