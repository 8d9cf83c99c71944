"""The merge of several channels' candidates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from recall.merge.methods import MergeConfig
from reccore import Candidates, ConfigError
from reccore.arrays import FloatArray, IntArray

FILL = "popularity"
# Slots of all channels together that are merged at once: their items, scores and points take about 20 MB.
SLOTS_PER_CHUNK = 1 << 20


def merge(config: MergeConfig, by_channel: Mapping[str, Candidates], k: int, *, fill: str | None = FILL) -> Candidates:
    """Merge the candidates of several channels, without duplicates, ties by ``item_idx``.

    Every item carries ``recall_score.<channel>`` and ``recall_rank.<channel>`` (from 1) of every channel,
    NaN where that channel did not offer it. Other features of the channels are not passed on.

    Args:
        config: the method and its options.
        by_channel: channel → (B, K_c); empty rows for a channel that failed or has no answer.
        k: most items per row.
        fill: channel that fills short rows: its remaining items follow the merged ones in its own order. At place
            p after n merged items the score is n / p of the lowest merged score (1 / p where n = 0), so that
            filling does not stretch the scale. None: no filling, and every channel is merged.

    Returns:
        (B, min(k, ΣK_c)). O(S log S) time for the S = ΣK_c slots of a row, about 0.05 ms for four channels of 300;
        chunks of bounded memory beside the result.

    Raises:
        ValueError: ``k`` below 1, no channel, or channels with different numbers of rows.
        ConfigError: ``fill`` or an option names a channel that is not there.
    """
    from recall.merge.kernel import merge_rows  # Numba and PyTorch, which a command's --help does without

    n_rows = _check(config, by_channel, k, fill)
    n_slots = sum(candidates.k for candidates in by_channel.values())
    k = min(k, n_slots)
    item_idx: IntArray = np.full((n_rows, k), -1, dtype=np.int64)
    score: FloatArray = np.full((n_rows, k), -np.inf, dtype=np.float32)
    found_score: FloatArray = np.full((len(by_channel), n_rows, k), np.nan, dtype=np.float32)
    found_rank: FloatArray = np.full_like(found_score, np.nan)
    first_slot = np.cumsum([0, *(candidates.k for candidates in by_channel.values())])
    fill_channel = -1 if fill is None else list(by_channel).index(fill)
    for rows, chunk in _chunks(by_channel, n_rows, n_slots):
        points = [config.points(name, candidates, is_fill=name == fill) for name, candidates in chunk.items()]
        n_distinct = max(map(len, points))
        merge_rows(
            _side_by_side([candidates.item_idx for candidates in chunk.values()]),
            _side_by_side([candidates.score for candidates in chunk.values()]),
            _side_by_side([np.broadcast_to(values, (n_distinct, values.shape[1])) for values in points]),
            first_slot,
            fill_channel,
            config.takes_best,
            item_idx[rows],
            score[rows],
            found_score[:, rows],
            found_rank[:, rows],
        )
    features = {}
    for channel, name in enumerate(by_channel):
        features[f"recall_score.{name}"] = found_score[channel]
        features[f"recall_rank.{name}"] = found_rank[channel]
    return Candidates(item_idx, score, features)


def fill_of(channels: Collection[str]) -> str | None:
    """The channel that fills short rows where nothing else is said: popularity, if it is one of them."""
    return FILL if FILL in channels else None


def _check(config: MergeConfig, by_channel: Mapping[str, Candidates], k: int, fill: str | None) -> int:
    """Number of rows, after the checks that ``merge`` documents."""
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    lengths = {name: len(candidates) for name, candidates in by_channel.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"at least one channel is needed and all with the same number of rows, got {lengths}")
    for name in [*config.channels, *([] if fill is None else [fill])]:
        if name not in by_channel:
            raise ConfigError(f"merge: no channel {name!r} among {', '.join(by_channel)}; correct it or leave it out")
    return next(iter(lengths.values()))


def _chunks(
    by_channel: Mapping[str, Candidates], n_rows: int, n_slots: int
) -> Iterator[tuple[slice, dict[str, Candidates]]]:
    """Runs of rows whose slots fit the limit."""
    step = max(1, SLOTS_PER_CHUNK // max(n_slots, 1))
    if 0 < n_rows <= step:
        yield slice(0, n_rows), dict(by_channel)
        return
    for start in range(0, n_rows, step):
        rows = slice(start, start + step)
        yield rows, {name: candidates.select(rows) for name, candidates in by_channel.items()}


def _side_by_side(blocks: list[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate(blocks, axis=1))
