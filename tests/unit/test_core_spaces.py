"""Observations of several parts, as one array: against Gymnasium's, which takes one at a time."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Text, Tuple
from minari.serialization import deserialize_space, serialize_space

from retain.core.spaces import OneArray, in_words

IMAGE = Box(0, 255, (5, 4, 3), np.uint8)
SPACES: list[Space[Any]] = [
    Dict({"b": Discrete(3, start=-1), "a": Box(-1, 1, (2, 2), np.float32)}),
    Tuple((MultiBinary(3), MultiDiscrete([2, 3]), Box(-np.inf, np.inf, (), np.float64))),
    Dict({"in": Dict({"x": Discrete(2), "y": IMAGE}), "out": Tuple((Discrete(4), Discrete(2)))}),
    MultiBinary((2, 2)),
    MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-2, 7]]),
    Tuple((Box(-5, 5, (3,), np.int32), Box(-5, 5, (1,), np.float32))),
]


def together(space: Space[Any], points: list[Any]) -> Any:
    """The points with an axis for time in each part, as Minari keeps them."""
    if isinstance(space, Dict):
        return {k: together(part, [point[k] for point in points]) for k, part in space.items()}
    if isinstance(space, Tuple):
        parts = enumerate(space.spaces)
        return tuple(together(part, [point[i] for point in points]) for i, part in parts)
    return np.stack([np.asarray(point) for point in points])


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_it_is_what_gymnasium_flattens_to(space: Space[Any]) -> None:
    one_array = OneArray.of(space)
    assert one_array is not None
    flat: Any = gym.spaces.flatten_space(space)
    np.testing.assert_array_equal(one_array.space.low, flat.low)
    np.testing.assert_array_equal(one_array.space.high, flat.high)
    # Gymnasium makes everything as wide as indices are; only what comes so wide has to be.
    wide = {part.dtype for _, part in one_array.parts} & {np.dtype("i4"), np.dtype("f8")}
    narrow = flat.dtype.itemsize < 8
    assert one_array.space.dtype == (flat.dtype if wide or narrow else np.float32)
    assert one_array.left_out == ()
    space.seed(1)
    points = [space.sample() for _ in range(7)]
    wanted = np.stack([gym.spaces.flatten(space, point) for point in points])
    found = one_array.batch(together(space, points), len(points))
    assert found.dtype == one_array.space.dtype
    np.testing.assert_array_equal(found, wanted)
    for point, row in zip(points, wanted, strict=True):
        one = one_array(point)
        np.testing.assert_array_equal(one, row)
        assert one in one_array.space


def test_the_order_of_a_dict_is_that_of_its_names_however_it_was_given() -> None:
    """Minari gives back another order than that of a Dict made of keywords."""
    wide, narrow = Box(-9, 9, (2,), np.float32), Box(-5, 5, (1,), np.float32)
    made = Dict(position=wide, angle=Tuple((Dict(z=narrow, a=wide), narrow)))
    assert list(made) == ["position", "angle"]
    back = deserialize_space(serialize_space(made))
    first, second = OneArray.of(made), OneArray.of(back)
    assert first is not None
    assert second is not None
    assert first.space == second.space
    made.seed(0)
    point = made.sample()
    np.testing.assert_array_equal(first(point), second(point))
    np.testing.assert_array_equal(first(point)[-2:], point["position"])


def test_texts_are_left_out_and_what_is_alone_stays_as_it_is() -> None:
    word = Text(8)
    space = Dict({"goal": Tuple((word, Dict({"hint": word}))), "image": IMAGE, "task": word})
    one_array = OneArray.of(space)
    assert one_array is not None
    assert one_array.space == IMAGE
    assert one_array.left_out == ("goal/0", "goal/1/hint", "task")
    space.seed(0)
    point = space.sample()
    np.testing.assert_array_equal(one_array(point), point["image"])

    several = OneArray.of(Dict({"n": Discrete(3), "task": word, "x": Box(0, 1, (2,), np.float32)}))
    assert several is not None
    assert several.left_out == ("task",)
    x = np.array([0.25, 0.5], dtype=np.float32)
    seen = several({"n": 2, "task": "go", "x": x})
    np.testing.assert_array_equal(seen, [0, 0, 1, 0.25, 0.5])
    # Minari keeps texts as a list.
    steps = several.batch({"n": np.array([2, 0]), "task": ["a", "b"], "x": np.stack([x, x])}, 2)
    np.testing.assert_array_equal(steps, [[0, 0, 1, 0.25, 0.5], [1, 0, 0, 0.25, 0.5]])


def test_one_number_alone_stays_a_number() -> None:
    one_array = OneArray.of(Dict({"n": Discrete(3), "task": Text(4)}))
    assert one_array is not None
    assert one_array.space == Discrete(3)
    assert one_array({"n": 2, "task": "x"}) == 2
    batch = one_array.batch({"n": np.array([0, 2]), "task": ["x", "y"]}, 2)
    np.testing.assert_array_equal(batch, [0, 2])


@pytest.mark.parametrize(
    "space",
    [
        IMAGE,
        Discrete(2),
        Text(4),
        Dict({"task": Text(4)}),
        Dict({"many": gym.spaces.Sequence(Discrete(2)), "x": IMAGE}),
        Dict(),
    ],
    ids=str,
)
def test_other_spaces_are_none_of_its_business(space: Space[Any]) -> None:
    assert OneArray.of(space) is None


def test_parts_that_do_not_fit_are_told() -> None:
    one_array = OneArray.of(SPACES[0])
    assert one_array is not None
    good = together(SPACES[0], [SPACES[0].sample() for _ in range(3)])
    with pytest.raises(ValueError, match=r"outside of its 3 values"):
        one_array.batch({**good, "b": np.array([0, 1, 2])}, 3)
    with pytest.raises(ValueError, match=r"a part has shape \(3,\)"):
        one_array.batch({**good, "a": np.zeros((3, 3))}, 3)
    with pytest.raises(KeyError, match="a"):
        one_array.batch({"b": good["b"]}, 3)


def test_spaces_in_words_are_short() -> None:
    assert in_words(Discrete(3)) == "Discrete(3)"
    wide = gym.spaces.flatten_space(Dict({"n": Discrete(30), "image": copy.deepcopy(IMAGE)}))
    assert in_words(wide) == "Box(0 to 255, (90,), int64)"
