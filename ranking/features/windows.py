"""Features of training samples of several label windows: each window knows the items as they were before it."""

from __future__ import annotations

from dataclasses import replace

from ranking.features.declaration import FEATURES
from ranking.features.encoder import FeatureEncoder
from reccore import ItemTable, RankingSamples
from reccore.arrays import rows_where


def with_windows(encoder: FeatureEncoder, samples: RankingSamples) -> FeatureEncoder:
    """The encoder for training samples of several label windows; with one window it stays as it is.

    A query meets the items as they were known before its window, and what numbers learn from samples is learnt anew
    from those of its window and of earlier ones. Codes, sizes, quantiles and scales are those of ``encoder``.
    Takes the values of the item side once more for each further window.

    Args:
        encoder: fitted on all the samples and on the items as known before the latest window.
        samples: training samples.
    """
    if not samples.earlier_items:
        return encoder
    earlier = (_as_of(number, items, encoder, samples) for number, items in enumerate(samples.earlier_items, start=1))
    return replace(encoder, earlier=tuple(earlier))


def _as_of(number: int, items: ItemTable, encoder: FeatureEncoder, samples: RankingSamples) -> FeatureEncoder:
    """The encoder of one earlier window."""
    assert samples.window is not None
    before = encoder.grown(items, encoder.tables.users)
    known, state = samples.select(rows_where(samples.window >= number)), dict(before.state)
    for field in encoder.schema.fields:
        fit = FEATURES[field.feature].fit
        if fit is not None and field.kind == "number":
            state[field.name] = {**state[field.name], **fit(known, before.tables, field.member)}
    return replace(before, state=state)
