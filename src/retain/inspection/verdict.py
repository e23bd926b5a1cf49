"""One sentence on why a run keeps or forgets, from the findings of an inspection."""

from __future__ import annotations

from typing import Any

import numpy as np

#: A probe this far above chance (0: chance, 1: always right) has the variable; this near, not.
HELD, LOST = 0.8, 0.3
#: The probe is said to fall when it ends so much below its best.
FALL = 0.25


def verdict(record: dict[str, Any]) -> str:
    """Returns the sentence.

    Args:
        record: The findings, as `retain.inspection.summary` makes them.
    """
    steps = record["steps"]
    if len(steps) < 3:
        return (
            f"The episodes end within two segments of {record['window']} steps: too little to say "
            "what is kept; inspect longer ones, or look more often (--window)."
        )
    course = _course(record)
    skill = _skill(record)
    if skill is None:
        return f"{_first_capital(course)}; what it holds is not known, as nothing was probed."
    name, skill_R = skill
    end, last = len(skill_R) - 1, float(skill_R[-1])
    best = float(skill_R.max())
    if best < LOST:
        clearest = int(skill_R.argmax())
        if _is_chance(record, clearest):
            return (
                f"The memory never holds {name}: the probe stays at chance, so it is not written, "
                f"or not in a linear way; {course}."
            )
        return (
            f"The memory holds little of {name}: the probe reads it with "
            f"{_accuracy(record, clearest):.2f} at best, at step {steps[clearest]:,}; {course}."
        )
    if last >= best - FALL:
        return f"{_kept(record, name, end, last)}; {course}{_unused(record, last)}."
    after = np.flatnonzero(skill_R >= best - FALL)[-1] + 1
    lost = np.flatnonzero(skill_R[after:] < LOST)
    fall = f"has fallen to {_accuracy(record, end):.2f} at step {steps[end]:,}"
    if last < LOST and _is_chance(record, end):
        fall = f"falls to chance at step {steps[int(after + lost[0])]:,}"
    return f"The memory forgets {name}: the probe {fall}; {_together(record, end) or course}."


def _kept(record: dict[str, Any], name: str, end: int, last: float) -> str:
    accuracy, step = _accuracy(record, end), record["steps"][end]
    how = "keeps" if last >= HELD else "holds a part of"
    return f"The memory {how} {name}: the probe reads it with {accuracy:.2f} at step {step:,}"


def _unused(record: dict[str, Any], last: float) -> str:
    if last < HELD or record["metric"] != "success" or record["mean"] >= 0.75:
        return ""
    return f"; but success is {record['mean']:.2f}, so the policy does not use it"


def _course(record: dict[str, Any]) -> str:
    """How the memory moves, as a part of a sentence."""
    drift, steps = record["drift"], record["steps"]
    last_change = drift["last_change"]
    if last_change < 0:
        return "the memory never changes"
    if last_change <= steps[-1] / 2:
        return f"the memory is copied bit for bit from step {last_change:,} on"
    share = drift["exact_share"] or 0.0
    if share >= 0.5:
        late = sum(last > steps[-1] / 2 for last in drift["last_changes"])
        return (
            f"the memory is copied bit for bit in {share:.0%} of the segments, but in {late} of "
            f"{record['episodes']} episodes it changes in the later half (last at step "
            f"{last_change:,})"
        )
    half = len(steps) // 2
    pace = float(np.nanmean(drift["to_previous"][half:]))
    size = record["memory"]["root_mean_square"]
    relative = f" ({pace / size:.0%} of its size)" if size else ""
    return f"the memory moves by {pace:.2g}{relative} a segment in the later half"


def _skill(record: dict[str, Any]) -> tuple[str, Any] | None:
    """The mean over the hidden variables of how far the probe is above chance, for each entry.

    Entries at the end at which nothing was probed, as where few episodes are left, are cut off.
    """
    skills = []
    names = list(record["probe"])
    for found in record["probe"].values():
        accuracy_R, chance_R = np.array(found["accuracy"]), np.array(found["chance"])
        skills.append((accuracy_R - chance_R) / np.maximum(1 - chance_R, 1e-9))
    if not skills:
        return None
    table_VR = np.array(skills)
    probed = np.flatnonzero(~np.isnan(table_VR).all(axis=0))
    if not probed.size:
        return None
    table_VR = table_VR[:, : probed[-1] + 1]
    known_VR = ~np.isnan(table_VR)
    skill_R = np.where(known_VR, table_VR, 0.0).sum(axis=0) / np.maximum(1, known_VR.sum(axis=0))
    what = f"the {names[0]}" if len(names) == 1 else f"the {len(names)} hidden variables"
    return what, skill_R


def _together(record: dict[str, Any], end: int) -> str | None:
    """Whether the memories of different values of what is hidden end at one and the same."""
    between_R = np.mean([found["between"] for found in record["probe"].values()], axis=0)
    between_R = between_R[: end + 1]
    if np.isnan(between_R[-1]):  # at the end something hidden is not probed
        return None
    most = int(np.nanargmax(between_R))
    if not between_R[-1] < 0.1 * between_R[most]:
        return None
    return (
        f"memories of different values come together, from {between_R[most]:.2g} apart at step "
        f"{record['steps'][most]:,} to {between_R[-1]:.2g}"
    )


def _accuracy(record: dict[str, Any], entry: int) -> float:
    return _mean(record, "accuracy", entry)


def _mean(record: dict[str, Any], what: str, entry: int) -> float:
    return float(np.nanmean([found[what][entry] for found in record["probe"].values()]))


def _is_chance(record: dict[str, Any], entry: int) -> bool:
    """Whether the probe is no more than two standard errors above what a guess gets."""
    above = _accuracy(record, entry) - _mean(record, "chance", entry)
    return above <= 2 * _mean(record, "stderr", entry)


def _first_capital(text: str) -> str:
    return text[:1].upper() + text[1:]
