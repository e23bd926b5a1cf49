"""Random words that are computed for many rows at once."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from retain.envs.draws import Draws, below, bits, keys, mix

MASK = 2**64 - 1
quick = settings(deadline=None, max_examples=50)


def splitmix(seed: int) -> list[int]:
    """The first words of SplitMix64, in plain whole numbers."""
    words = []
    for _ in range(4):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        z = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        words.append(z ^ z >> 31)
    return words


def test_the_mixing_is_that_of_splitmix() -> None:
    # The first words for seed 1234567, as other implementations print them.
    assert splitmix(1234567)[:2] == [6457827717110365317, 3203168211198807973]
    steps = np.arange(1, 5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mix(np.uint64(1234567) + steps).tolist() == splitmix(1234567)


@quick
@given(st.lists(st.integers(0, 2**140), min_size=1, max_size=5), st.integers(1, 9))
def test_words_are_the_stream_of_the_key(seeds: list[int], count: int) -> None:
    draws, rows = Draws(len(seeds)), np.arange(len(seeds))
    draws.seed(rows, seeds)
    for episode in range(1, 4):
        draws.advance(slice(None))
        for row, key in enumerate(keys(seeds).tolist()):
            start = (key + 0x9E3779B97F4A7C15 * ((episode << 20) - 1)) & MASK
            halves = [half for word in splitmix(start) for half in (word & 2**32 - 1, word >> 32)]
            words_RW = draws.words(np.array([row]), min(count, 8))
            assert words_RW.tolist() == [halves[: min(count, 8)]]


def test_seeds_have_keys_of_their_own() -> None:
    seeds = [*range(2000), 2**64, 2**64 + 1, 2**128, 2**200 + 5]
    assert len(set(keys(seeds).tolist())) == len(seeds)
    assert keys([7, 2**64, 9])[[0, 2]].tolist() == keys([7, 9]).tolist()


@quick
@given(st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3), st.integers(1, 96))
def test_bits_are_those_of_the_words(words: list[int], count: int) -> None:
    number = words[0] | words[1] << 32 | words[2] << 64
    found = bits(np.array([words], dtype=np.uint32), count)[0].tolist()
    assert found == [number >> place & 1 for place in range(count)]


@quick
@given(st.integers(0, 2**32 - 1), st.integers(1, 10**6))
def test_numbers_are_below_their_bound(word: int, high: int) -> None:
    assert below(np.array([word], dtype=np.uint32), high).tolist() == [word * high >> 32]


def test_words_are_even() -> None:
    draws = Draws(4000)
    draws.seed(np.arange(4000), list(range(4000)))
    draws.advance(slice(None))
    bits_RN = bits(draws.words(slice(None), 4), 128)
    assert np.abs(bits_RN.mean(axis=0) - 0.5).max() < 0.04
    assert np.abs(np.corrcoef(bits_RN.T) - np.eye(128)).max() < 0.08
    counts = np.bincount(below(draws.words(slice(None), 1)[:, 0], 7), minlength=7)
    assert np.abs(counts / 4000 - 1 / 7).max() < 0.025
