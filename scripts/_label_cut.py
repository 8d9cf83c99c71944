"""Where the settings of train_ranking.py cut the label window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scripts._settings import read_toml
from scripts.train_ranking import TrainRankingSettings

if TYPE_CHECKING:
    from pipeline.window_refits import LabelCut


def label_cut(path: Path) -> LabelCut:
    """The cut of a TOML file of train_ranking.py.

    Raises:
        ConfigError: it cannot be read, or has an invalid value.
    """
    from pipeline.window_refits import LabelCut

    settings = read_toml(path)
    known = TrainRankingSettings.parse({k: v for k, v in settings.items() if k in TrainRankingSettings.model_fields})
    return LabelCut(known.max_queries, known.short_histories, known.label_window)
