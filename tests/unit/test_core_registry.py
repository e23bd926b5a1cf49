from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from retain.core import registry as module
from retain.core.errors import ConfigError, MissingExtraError, RetainError, UnknownNameError
from retain.core.registry import Registry, load_plugins
from retain.core.seeding import generator, generator_state, restore_generator

ENTRY = """
from registry_under_test import things

@things.register("{name}")
class Thing:
    pass
"""


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[type]:
    """A registry whose package has two modules, each of which registers one class."""
    package = tmp_path / "registry_package"
    package.mkdir()
    (package / "__init__.py").touch()
    for name in ("alpha", "beta"):
        (package / f"{name}.py").write_text(ENTRY.format(name=name))
    (tmp_path / "registry_under_test.py").write_text(
        "from retain.core.registry import Registry\n"
        "things = Registry('thing', 'registry_package')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    import registry_under_test

    registry: Registry[type] = registry_under_test.things
    yield registry
    for name in set(sys.modules) - before:
        if name.startswith("registry_"):
            del sys.modules[name]


def test_entries_are_found_in_the_package_when_asked(things: Registry[type]) -> None:
    assert "registry_package.alpha" not in sys.modules
    assert things.get("alpha").__name__ == "Thing"
    assert things.names() == list(things) == ["alpha", "beta"]
    assert "beta" in things
    assert "gamma" not in things


def test_a_name_of_the_library_is_not_taken_over(things: Registry[type]) -> None:
    @things.register("alpha")
    class Other:
        pass

    with pytest.raises(ConfigError, match=r"thing 'alpha' is registered twice: by .*Other and by"):
        things.get("alpha")


def test_a_message_lists_some_of_many_names() -> None:
    names = [f"name-{number:03}" for number in range(100)]
    assert str(UnknownNameError("thing", "zzz", names)).endswith("name-039 and 60 more")


def test_a_configuration_names_an_entry(things: Registry[type]) -> None:
    class Named:
        registered_name = "alpha"

    class Unnamed:
        registered_name = ""

    assert things.of(Named()) is things.get("alpha")
    with pytest.raises(ConfigError, match="Unnamed has no registered_name; give the class the na"):
        things.of(Unnamed())


def test_unknown_names_get_the_nearest(things: Registry[type]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        things.get("alpah")
    assert str(caught.value) == "unknown thing 'alpah'; did you mean alpha?"
    with pytest.raises(KeyError, match="unknown thing 'zzz'; known: alpha, beta"):
        things.get("zzz")


def test_one_name_for_two_things_is_refused(things: Registry[type]) -> None:
    first = things.get("alpha")
    assert things.register("alpha")(first) is first  # the same again, as after a reload
    with pytest.raises(ConfigError, match="thing 'alpha' is registered twice: by registry_package"):
        things.register("alpha")(dict)
    assert things.get("alpha") is first


def test_plugins_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    class EntryPoint:
        def load(self) -> None:
            loaded.append(self)

    def entry_points(group: str) -> list[EntryPoint]:
        assert group == "retain.plugins"
        return [EntryPoint(), EntryPoint()]

    monkeypatch.setattr(module, "_plugins_loaded", False)
    monkeypatch.setattr(module, "entry_points", entry_points)
    load_plugins()
    load_plugins()
    assert len(loaded) == 2


def test_errors_are_one_family() -> None:
    error = MissingExtraError("ray", "cluster")
    assert isinstance(error, RetainError)
    assert isinstance(error, ImportError)
    assert str(error) == "ray is not installed; run: pip install 'retain[cluster]'"
    assert str(UnknownNameError("model", "x", [])) == "unknown model 'x'; known: none"
    text = str(UnknownNameError("model", "ab", ["abc"], "ask"))
    assert text == "unknown model 'ab'; did you mean abc? Ask"
    assert str(UnknownNameError("model", "x", ["abc"], "ask")).endswith("known: abc; ask")


def test_streams_of_a_seed() -> None:
    keys = ((0,), (1,), (0, 1), (0, 2), (1, 1), (0, 0, 1))
    draws = {key: tuple(generator(*key).random(4)) for key in keys}
    assert len(set(draws.values())) == len(keys)
    assert draws[0, 1] == tuple(generator(0, 1).random(4))


def test_a_generator_goes_on_from_its_state() -> None:
    import json

    rng = generator(3, 1)
    rng.random(7)
    state = json.loads(json.dumps(generator_state(rng)))
    expected = rng.integers(1000, size=5)
    np.testing.assert_array_equal(restore_generator(state).integers(1000, size=5), expected)
