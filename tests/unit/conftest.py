"""What the tests of parts share."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Keeps the figures that are written, so that tests can look into them."""
    figures = []

    class Kept(Figure):
        def savefig(self, *arguments: Any, **options: Any) -> None:
            figures.append(self)
            super().savefig(*arguments, **options)

    monkeypatch.setattr("matplotlib.figure.Figure", Kept)
    return figures
