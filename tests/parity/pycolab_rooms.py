"""Visual Match and Key-to-Door on the pycolab engine, as a reference for the arrays of `retain`.

Written from the rules in docs/grid_rooms.md: the engine keeps the frames, chapters, movement and
the cropped view; here are only the things that stand in the rooms. Nothing is imported from
`retain`. What an episode hides is given by a `Hidden`, so both sides can play the same one;
`random_hidden` draws one.

    game = PycolabRooms("key_to_door")        # or "visual_match"
    picture = game.reset(random_hidden(rng))  # uint8 of shape [3, 5, 5]
    picture, reward, over = game.step(action)
"""

from __future__ import annotations

import collections.abc
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from pycolab import cropping, rendering, storytelling, things
from pycolab.engine import Engine
from pycolab.prefab_parts import sprites

Cell = tuple[int, int]
Task = Literal["visual_match", "key_to_door"]

APPLES: list[Cell] = [
    (row, column) for row in range(1, 6) for column in range(1, 10) if (row + column) % 2 == 0
]
APPLES.remove((5, 5))  # the player starts there
AROUND: list[Cell] = [
    (row, column) for row in (1, 2, 3) for column in (4, 5, 6) if (row, column) != (2, 5)
]
KEYS: list[Cell] = [(row, column) for row in (1, 2) for column in range(3, 8)]
STARTS: list[Cell] = [(row, column) for row in (4, 5) for column in range(3, 8)]
OBJECTS: dict[str, Cell] = {"b": (1, 2), "c": (1, 5), "e": (1, 8)}

PURE = ((1000, 0, 0), (0, 1000, 0), (0, 0, 1000))
PER_MILLE = {
    "P": (898, 584, 430),
    "#": (100, 100, 100),
    " ": (800, 800, 800),
    "k": (627, 321, 176),
    "d": (529, 808, 922),
    "a": (550, 700, 0),
    "i": (1000, 1000, 1000),
}
LAST = {"visual_match": 15, "key_to_door": 10}


@dataclass
class Hidden:
    """What an episode draws; cells are (row, column) of the board."""

    apples: list[Cell]
    target: int = 0  # 0, 1, 2: the object b, c, e
    wall: Cell = AROUND[0]
    colours: tuple[int, ...] = (0, 1, 2)  # of b, c, e: red, green, blue
    key: Cell = KEYS[0]
    start: Cell = STARTS[0]


def random_hidden(rng: np.random.Generator, num_apples: int = 10) -> Hidden:
    chosen = rng.permutation(len(APPLES))[:num_apples]
    return Hidden(
        apples=[APPLES[index] for index in chosen],
        target=int(rng.integers(3)),
        wall=AROUND[rng.integers(len(AROUND))],
        colours=tuple(rng.permutation(3).tolist()),
        key=KEYS[rng.integers(len(KEYS))],
        start=STARTS[rng.integers(len(STARTS))],
    )


# pycolab 1.2 asks its `collections` for Mapping, which Python has moved. Its builder from ASCII art
# needs more repairs with a modern numpy, so the engines are built without it.
storytelling.collections = collections.abc


class Walker(sprites.MazeWalker):
    """The player; it also ends the chapter when its frames are used up."""

    def __init__(self, corner: Any, position: Any, character: str, frames: int, walls: str):
        super().__init__(corner, position, character, impassable=walls, confined_to_board=True)
        self._frames = frames

    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        if the_plot.get("has_key"):
            self._impassable.discard("d")
        moves = (self._north, self._south, self._west, self._east)
        if actions is not None:
            moves[actions](board, the_plot)
        the_plot.add_reward(0.0)
        if the_plot.frame >= self._frames:
            the_plot.terminate_episode()


class Orchard(things.Drape):
    """The apples. Remembers in which frame each was eaten last."""

    def __init__(self, curtain: Any, character: str, reward: float, respawn: int):
        super().__init__(curtain, character)
        self._reward, self._respawn = reward, respawn
        self._eaten: dict[Cell, int] = {}

    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        here = tuple(things["P"].position)
        if self.curtain[here]:
            self.curtain[here] = False
            self._eaten[here] = the_plot.frame
            the_plot.add_reward(self._reward)
        for place, frame in list(self._eaten.items()):
            if self._respawn and the_plot.frame - frame > self._respawn:
                self.curtain[place] = True
                del self._eaten[place]


class Key(things.Sprite):
    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        the_plot["taken_now"] = self.visible and self.position == things["P"].position
        if the_plot["taken_now"]:
            the_plot["has_key"], self._visible = True, False


class Indicator(things.Sprite):
    """Shown at the top of the board in the frame in which the key is taken."""

    def __init__(self, corner: Any, position: Any, character: str):
        super().__init__(corner, position, character)
        self._position, self._visible = self.Position(0, 5), False

    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        self._visible = the_plot["taken_now"]


class Door(things.Sprite):
    def __init__(self, corner: Any, position: Any, character: str, reward: float):
        super().__init__(corner, position, character)
        self._reward = reward

    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        if self.position == things["P"].position and the_plot.get("has_key"):
            the_plot["has_key"] = False
            the_plot.add_reward(self._reward)


class Object(things.Sprite):
    """An object of the last room of Visual Match; being touched removes all three."""

    def __init__(self, corner: Any, position: Any, character: str, reward: float):
        super().__init__(corner, position, character)
        self._reward = reward

    def update(self, actions, board, layers, backdrop, things, the_plot):  # type: ignore[no-untyped-def]
        if the_plot.get("touched"):
            self._visible = False
        elif self.position == things["P"].position:
            the_plot.add_reward(self._reward)
            the_plot["touched"] = True
            for name in OBJECTS:
                things[name]._visible = False


class PycolabRooms:
    """One environment of either task.

    Args:
        task: `visual_match` or `key_to_door`.
        distractor_length: Frames of the second phase.
        apple_reward: Reward for an apple.
        apple_respawn: An apple is back after more than so many frames; 0: never.
        success_reward: Reward for the right object or the door.
    """

    def __init__(
        self,
        task: Task,
        distractor_length: int = 60,
        apple_reward: float = 1.0,
        apple_respawn: int = 20,
        success_reward: float = 5.0,
    ):
        self.task = task
        self.frames = (15, distractor_length, LAST[task])
        self.apple_reward, self.apple_respawn = apple_reward, apple_respawn
        self.success_reward = success_reward

    def reset(self, hidden: Hidden) -> np.ndarray:
        if self.task == "visual_match":
            chapters = [self._match_explore, self._orchard, self._match_reward]
        else:
            chapters = [self._key_explore, self._orchard, self._key_reward]
        self._hidden = hidden
        view = cropping.ScrollingCropper(5, 5, "P", pad_char=" ", scroll_margins=(2, 2))
        self._story = storytelling.Story(chapters, croppers=view)
        pure = {name: PURE[hidden.colours[place]] for place, name in enumerate(OBJECTS)}
        scaled = {
            name: tuple(share * 255 / 1000 for share in shares)
            for name, shares in {**PER_MILLE, **pure}.items()
        }
        self._paint = rendering.ObservationToArray(scaled, dtype=np.uint8)
        self._steps, self.last_phase_reward = 0, 0.0
        return self._paint(self._story.its_showtime()[0])

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        observation, reward, _ = self._story.play(action)
        self._steps += 1
        if self._steps > self.frames[0] + self.frames[1]:
            self.last_phase_reward += reward
        return self._paint(observation), float(reward), self._story.game_over

    def _walker(self, chapter: int, walls: str = "#") -> Any:
        return partial(Walker, frames=self.frames[chapter], walls=walls)

    def _game(self, letters: Letters, cast: dict[str, partial[Any]]) -> Engine:
        """Builds an engine; the cast acts in its order, on top of walls and floor."""
        board = np.array([[ord(letter) for letter in line] for line in letters], dtype=np.uint8)
        engine = Engine(*board.shape)
        for name, thing in cast.items():
            engine.update_group("all")
            mask = board == ord(name)
            if name == "a":
                engine.add_prefilled_drape(name, mask, thing.func, **thing.keywords)
            else:
                place = tuple(np.argwhere(mask)[0].tolist()) if mask.any() else (0, 0)
                engine.add_sprite(name, place, thing.func, **thing.keywords)
            board[mask] = ord(" ")
        # What is drawn last lies on top: the door covers the player, who covers the rest.
        engine.set_z_order(sorted(cast, key=lambda name: {"P": 1, "d": 2}.get(name, 0)))
        engine.set_prefilled_backdrop("".join(map(chr, np.unique(board))), board, things.Backdrop)
        return engine

    def _match_explore(self) -> Any:
        box = _empty((2, 5))
        for row, column in AROUND:
            box[row][column] = "#"
        shown = list(OBJECTS)[self._hidden.target]
        row, column = self._hidden.wall
        box[row][column] = shown
        cast = {
            "P": self._walker(0, "#" + shown),
            shown: partial(Object, reward=0.0),
        }
        return self._game(box, cast)

    def _match_reward(self) -> Any:
        room = _empty((5, 5))
        _walls(room, 0, 0, 4, 10)
        _walls(room, 4, 3, 6, 7)
        for column in (4, 5, 6):
            room[4][column] = " "
        cast: dict[str, Any] = {"P": self._walker(2)}
        for number, (name, (row, column)) in enumerate(OBJECTS.items()):
            reward = self.success_reward if number == self._hidden.target else 0.0
            room[row][column] = name
            cast[name] = partial(Object, reward=reward)
        return self._game(room, cast)

    def _key_explore(self) -> Any:
        room = _empty(self._hidden.start)
        _walls(room, 0, 2, 6, 8)
        room[3][3] = room[3][7] = "#"
        row, column = self._hidden.key
        room[row][column] = "k"
        cast = {"P": self._walker(0, "#di"), "k": partial(Key), "i": partial(Indicator)}
        return self._game(room, cast)

    def _key_reward(self) -> Any:
        room = _empty((3, 5))
        _walls(room, 1, 3, 5, 7)
        room[1][5] = "d"
        door = partial(Door, reward=self.success_reward)
        return self._game(room, {"P": self._walker(2, "#di"), "d": door})

    def _orchard(self) -> Any:
        room = _empty((5, 5))
        _walls(room, 0, 0, 6, 10)
        for row, column in self._hidden.apples:
            room[row][column] = "a"
        apples = partial(Orchard, reward=self.apple_reward, respawn=self.apple_respawn)
        return self._game(room, {"P": self._walker(1), "a": apples})


Letters = list[list[str]]


def _empty(player: Cell) -> Letters:
    letters = [[" "] * 11 for _ in range(7)]
    letters[player[0]][player[1]] = "P"
    return letters


def _walls(letters: Letters, top: int, left: int, bottom: int, right: int) -> None:
    for column in range(left, right + 1):
        letters[top][column] = letters[bottom][column] = "#"
    for row in range(top, bottom + 1):
        letters[row][left] = letters[row][right] = "#"
