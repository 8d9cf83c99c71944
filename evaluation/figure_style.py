"""Style and colours shared by all figures, and their atomic writing as PNG."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from reccore import DataError

# Okabe and Ito's palette, which colour-blind readers can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#B8A500")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT = "#333333", "#DDDDDD"

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 12.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12.0,
    "axes.edgecolor": "#999999",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


@contextmanager
def figure(path: Path, size: tuple[float, float], title: str) -> Iterator[Axes]:
    """Yield axes in the house style, then write the PNG atomically (temporary file, then rename)."""
    with _sheet(path, size) as sheet:
        axes = sheet.add_subplot()
        axes.set_title(title)
        yield axes


@contextmanager
def panels(path: Path, size: tuple[float, float], title: str, rows: int, columns: int) -> Iterator[list[Axes]]:
    """Like ``figure``, with a grid of axes, row by row, under one title."""
    with _sheet(path, size) as sheet:
        sheet.suptitle(title, x=0.02, ha="left", fontsize=12.0, fontweight="bold")
        yield [sheet.add_subplot(rows, columns, place + 1) for place in range(rows * columns)]


@contextmanager
def _sheet(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        sheet = Figure(figsize=size, dpi=144, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
        canvas = FigureCanvasAgg(sheet)
        yield sheet
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            # Without matplotlib's version in the file, equal figures have equal bytes.
            canvas.print_figure(str(temporary), format="png", metadata={"Software": None})
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def require_some(values: Mapping[Any, Any] | Sequence[Any]) -> None:
    """Raise ``DataError`` if there is nothing to draw."""
    if not values:
        raise DataError("there is nothing to draw")
