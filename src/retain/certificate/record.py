"""What a certificate says."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

#: A margin above this is far from what another order of additions changes in single precision.
SAFE_MARGIN = 1e-3
#: The most rounds of random episodes; the first without a new memory ends the search.
ROUNDS = 4
#: With this confidence hold the bounds of samples, and with this chance a memory lasts as long as
#: `Certificate.lasting_steps` says.
CONFIDENCE = 0.95


class Refusal(Exception):  # noqa: N818 (a finding, not an error)
    """Why there is no certificate; found on the way."""

    def __init__(self, reason: str, witness: dict[str, Any] | None = None):
        super().__init__(reason)
        self.reason, self.witness = reason, witness


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Whether a memory can change what it holds, from all or from sampled inputs of a kind.

    Numbers that were not reached, because a finding ended the search, are zero or None.
    """

    verdict: Literal["proved", "sampled", "refused"]
    """proved: every input of the kind seen was tried; sampled: some; refused: there is a reason."""
    reason: str = ""
    """Why it is refused; empty otherwise."""
    witness: dict[str, Any] | None = None
    """The inputs that show it: segments that lead there, and the decision that went wrong."""
    environment: str = ""
    """Where episodes were played."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The environment's options."""
    context_length: int = 0
    """Steps of a segment, K."""
    episodes: int = 0
    """Episodes played."""
    failures: int = 0
    """Episodes that the environment calls no success."""
    rightness_known: bool = True
    """The environment says which episodes succeed; else the answers given are taken as right."""
    held_from: int = 0
    """Greatest step at which holding begins in the episodes played."""
    symbols: int = 0
    """Different inputs of one step while holding; the size of the sample if they are not finite."""
    finite_inputs: bool = True
    """The inputs are a list; else they are drawn from a continuum."""
    signal: str = "return-to-go"
    """What is told beside the observation."""
    signals: tuple[float, ...] = ()
    """The least and the greatest of it while holding; one if they are the same."""
    held_actions: tuple[int, ...] = ()
    """Actions taken while holding, all that the inputs of the kind seen answer to."""
    played_memories: int = 0
    """Different memories at ends of segments in the episodes played."""
    played_segments: int = 0
    """Ends of segments they were counted at."""
    drift: float | None = None
    """Mean change of a number in the memory over a held segment, in the episodes played."""
    beginnings: int = 0
    """Different things shown before holding begins."""
    beginnings_read: int = 0
    """Sequences read from the start of an episode to the end of the segment holding begins in."""
    states: int = 0
    """Memories in the closed set."""
    transitions: int = 0
    """Segments read from them."""
    walked: int = 0
    """Segments of random episodes in which no new memory came; 0 if all segments were read."""
    questions: int = 0
    """Different endings, asked of the memories that must know the answer."""
    pairs: int = 0
    """Beginnings and endings that were seen together: what is right elsewhere is not known."""
    too_short: int = 0
    """Episodes left out, which asked before the end of the segment in which holding began."""
    decisions: int = 0
    """Endings read, behind every part of a segment."""
    walked_questions: int = 0
    """Questions that were put on the way, at random places, one a segment."""
    listed: tuple[bool, bool, bool] = (False, False, False)
    """Whether all beginnings, all segments, all parts of segments were read."""
    margin: float | None = None
    """Smallest distance to an edge, where rounding would change a number of the memory, of all that
    was held; None if the model does not say."""
    writing_margin: float | None = None
    """The same while the first memory was written."""
    decision_margin: float | None = None
    """Smallest lead of the best action over the second best."""
    checked: int = 0
    """Segments that were also read step by step, and in double precision."""
    stepwise_agree: int = 0
    """Of these, how many gave the same memory step by step."""
    double_agree: int = 0
    """Of these, how many gave the same memory in double precision."""
    arithmetic: str = ""
    """Device, type of numbers, threads and version of torch."""
    seconds: float = 0.0
    """How long it took."""

    @property
    def leaving_bound(self) -> float | None:
        """Bound on the chance that a segment of a random episode leads out of the set.

        With confidence `CONFIDENCE`, if memories occur in the episodes as often as they ever will:
        of n segments that random episodes went through in a round, none led to a new memory. (The
        rule of three, nearly 3 / n; a little more, since there could have been several rounds.)
        Zero if all segments were read, None if refused.
        """
        if self.verdict == "refused":
            return None
        if self.listed[1]:
            return 0.0
        return bound_of(self.walked, ROUNDS)

    @property
    def lasting_steps(self) -> float | None:
        """Steps that a memory stays in the set with a chance of `CONFIDENCE` or more."""
        chance = self.leaving_bound
        if chance is None:
            return None
        if chance == 0:
            return math.inf
        return self.context_length * math.log(CONFIDENCE) / math.log1p(-chance)

    def to_json(self) -> dict[str, Any]:
        """Returns all of it as numbers, texts and lists."""
        fields = dataclasses.asdict(self)
        lasting = self.lasting_steps
        return {
            **{k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()},
            "leaving_bound": self.leaving_bound,
            "lasting_steps": None if lasting is None or math.isinf(lasting) else int(lasting),
        }

    def lines(self) -> list[str]:
        """Returns it as text for one screen, a line each."""
        return [_verdict(self), "", *_checked(self), "", *_meaning(self)]


def bound_of(samples: int, tries: int) -> float:
    """Bound on the chance of a failure of which so many samples had none, tried up to so often.

    The rule of three, exactly, for all tries at once: 1 - (0.05 / tries) ** (1 / samples).
    """
    if samples == 0:
        return 1.0
    return -math.expm1(math.log((1 - CONFIDENCE) / max(1, tries)) / samples)


def _verdict(c: Certificate) -> str:
    if c.verdict == "proved":
        return "PROVED: the memory holds in every such episode, however long, in this arithmetic."
    if c.verdict == "sampled":
        return "SAMPLED: no input that was tried changed what the memory holds; this is no proof."
    return f"NOT CERTIFIED: {c.reason}."


def _row(name: str, text: str) -> str:
    return f"  {name:<12}{text}"


def _many(c: Certificate, which: int, count: int, what: str) -> str:
    return f"{'all' if c.listed[which] else 'sampled:'} {count:,} {what}"


def _checked(c: Certificate) -> list[str]:
    success = f", {c.failures} without success" if c.failures else ""
    rows = [_row("played", f"{c.episodes} episodes of {c.environment} {_options(c)}{success}")]
    if c.symbols:
        kind = f"{c.symbols:,} different inputs a step" if c.finite_inputs else "a continuum"
        told = f"{c.signal} {' to '.join(f'{value:g}' for value in c.signals)}"
        actions = ", ".join(map(str, c.held_actions))
        acts = f", action {actions}" if actions else ""
        rows.append(_row("kind", f"{kind} ({told}){acts}; K = {c.context_length}"))
    if c.played_segments:
        drift = "" if c.drift is None else f"; mean change a segment {c.drift:.2g}"
        rows.append(
            _row(
                "memories",
                f"{c.played_memories} different at {c.played_segments} ends of segments{drift}",
            )
        )
    if c.beginnings_read:
        what = f"ways to begin ({c.beginnings} things shown, held from step {c.held_from})"
        rows.append(_row("writing", _many(c, 0, c.beginnings_read, what)))
    if c.transitions:
        what = f"segments from {c.states} memories"
        closed = "" if c.verdict == "refused" else ": none leads out of the set"
        rows.append(_row("holding", _many(c, 1, c.transitions, what) + closed))
    if c.decisions:
        right = "" if c.verdict == "refused" else ": all right"
        what = f"endings ({c.questions} questions, at every step of a segment)"
        rows.append(_row("answering", _many(c, 2, c.decisions, what) + right))
    if c.pairs < c.beginnings * c.questions:
        text = f"{c.pairs} of {c.beginnings * c.questions} pairs of a beginning and a question seen"
        rows.append(_row("", f"{text}; the others are not judged"))
    if c.too_short:
        rows.append(_row("left out", f"{c.too_short} episodes that asked within the first segment"))
    if c.checked:
        same = f"{c.stepwise_agree} of {c.checked} alike step by step, {c.double_agree} in double"
        rows.append(_row("arithmetic", f"{c.arithmetic}; {same}"))
    edges = [
        f"{value:.2g} from an edge of rounding in {what}"
        for value, what in ((c.writing_margin, "writing"), (c.margin, "holding"))
        if value is not None
    ]
    edges += [] if c.decision_margin is None else [f"{c.decision_margin:.2g} between actions"]
    if edges:
        rows.append(_row("margin", "; ".join(edges)))
    rows.append(_row("time", f"{c.seconds:.0f} s"))
    return rows


def _options(c: Certificate) -> str:
    return " ".join(f"{name}={value}" for name, value in c.options.items())


def _meaning(c: Certificate) -> list[str]:
    if c.verdict == "refused":
        lines = ["This proves nothing of other inputs, nor that the run fails where it was played."]
        if c.witness is not None:
            lines.append(f"Witness: {c.witness.get('text', 'see the JSON')}")
        return lines
    lines = []
    if c.verdict == "proved":
        lines += [
            "From every beginning, every segment of the kind seen leads to a memory that was tried",
            "too, and every one answers rightly what was asked after such a beginning, so length",
            "does not matter. This holds for these inputs alone: not for other observations,",
            "rewards or hints, for a question not seen after that beginning, nor for episodes",
            "that ask before the segment in which holding begins has ended.",
        ]
    else:
        chance, lasting = c.leaving_bound or 0.0, c.lasting_steps or math.inf
        if c.listed[1]:
            lines.append("Holding was listed in full, but beginnings or answers were sampled.")
        else:
            million = (1 - chance) ** (1_000_000 / c.context_length)
            lines += [
                f"Random episodes went through {c.walked:,} segments without a new memory, and",
                "answered rightly in each. With 95 % confidence a segment leads out with a chance",
                f"below {chance:.2g}, if memories occur in them as often as they ever will.",
                f"That vouches for {int(lasting):,} steps (a chance of 95 % to hold), and for a",
                f"million steps only with a chance of {million:.2g}. Steps are drawn as if",
                "independent. Rarer inputs, and inputs of another kind, were not tried.",
            ]
    edges = [margin for margin in (c.margin, c.writing_margin) if margin is not None]
    margins = [*edges, *([] if c.decision_margin is None else [c.decision_margin])]
    if not edges:
        lines += [
            "Other hardware, or another number of episodes at once, may round otherwise and lead",
            "to memories that were not tried; how near that comes is not known here.",
        ]
    elif min(margins) > SAFE_MARGIN:
        lines.append("The margin is far above round-off, so other hardware should give the same.")
    else:
        lines.append("The margin is small: other hardware or batches may round otherwise.")
    if not c.rightness_known:
        lines.append("The environment does not say what is right: answers given count as right.")
    return lines
