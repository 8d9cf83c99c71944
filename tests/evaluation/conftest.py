"""Fixtures shared by the tests of figures."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of every figure that is printed during the test."""
    seen: list[Axes] = []
    printed = FigureCanvasAgg.print_figure

    def record(self: FigureCanvasAgg, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.figure.axes[0])
        return printed(self, *args, **kwargs)

    monkeypatch.setattr(FigureCanvasAgg, "print_figure", record)
    return seen
