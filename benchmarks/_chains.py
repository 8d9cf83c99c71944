"""Pipelines over made-up data, trained little: quality does not change the time of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataprep.prepare import prepare
from dataprep.preprocess import preprocess
from dataprep.synthetic import SyntheticSize, make_synthetic
from pipeline.builder import PIPELINE
from pipeline.train_channel import train_channel
from pipeline.train_ranker import train_ranker
from reccore import RunOptions, Workspace

CHANNELS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "itemcf": {},
    "mf": {"epochs": 2},
    "two_tower": {"embedding_size": 64, "batch_size": 1024, "epochs": 1, "encoder": {"kind": "mlp"}},
    "markov": {},
    "usercf": {},
    "itemcf_prior": {},
}
QUIET = RunOptions(seed=0, device="cpu", progress=False, threads=1)


def trained_chain(
    space: Workspace,
    size: SyntheticSize,
    name: str,
    settings: Mapping[str, Any],
    channels: Sequence[str] = tuple(CHANNELS),
) -> Path:
    """The folder of a pipeline; what the data root lacks is made.

    Args:
        space: data root of the made-up data.
        size: of the data, where there is none yet.
        name: of the folder under ``models/``.
        settings: of the pipeline.
        channels: those that it needs.
    """
    if not space.prepared.exists():
        make_synthetic(space.raw / "synthetic", size, QUIET)
        preprocess(space.raw / "synthetic", space.processed, options=QUIET)
        prepare(space).save(space.prepared)
    folder = space.models / name
    if not folder.exists():
        for channel in channels:
            if not space.model(channel).exists():
                train_channel(space, channel, CHANNELS[channel], options=QUIET)
        train_ranker(space, "deepfm", {"epochs": 1}, settings, max_queries=2000, options=QUIET)
        space.model(PIPELINE).rename(folder)
    return folder
