"""Compiled loops over the numbers of pairs: in NumPy a request of one query would spend its time between the calls."""

from __future__ import annotations

import numpy as np
from numba import njit

from reccore.arrays import BoolArray, FloatArray
from reccore.compilation import announce_compilation

LEAST_DEVIATION = 1e-12

announce_compilation()


def centred_and_standard(values: FloatArray, mask: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Values (C, B, K) minus their mean over the finite slots of a row, and that in units of its deviation.

    Args:
        values: (C, B, K) float32.
        mask: (B, K) slots that count; others are NaN in the result, as values are that are not finite.

    Returns:
        Two arrays (C, B, K); of a constant row the second is 0. Sums are of float64.
    """
    centred, standard = np.empty_like(values), np.empty_like(values)
    _centre(values, mask, centred, standard)
    return centred, standard


@njit(nogil=True, cache=True)
def _centre(values: np.ndarray, mask: np.ndarray, centred: np.ndarray, standard: np.ndarray) -> None:
    n_columns, n_rows, k = values.shape
    for column in range(n_columns):
        for row in range(n_rows):
            given, valid = values[column, row], mask[row]
            own, scaled = centred[column, row], standard[column, row]
            total, n = 0.0, 0
            for j in range(k):
                if valid[j] and np.isfinite(given[j]):
                    total += given[j]
                    n += 1
            mean, squares = total / max(n, 1), 0.0
            for j in range(k):
                own[j] = np.float32(given[j] - mean) if valid[j] and np.isfinite(given[j]) else np.float32(np.nan)
                if not np.isnan(own[j]):
                    squares += np.float64(own[j]) ** 2
            deviation = np.sqrt(squares / max(n, 1))
            for j in range(k):
                scaled[j] = own[j] / deviation if deviation > LEAST_DEVIATION else own[j] * np.float32(0.0)


def log_shares(values: FloatArray, mask: BoolArray, least: float) -> FloatArray:
    """Log of each value's share of its row's sum plus ``least``; (B, K) to (B, K), NaN where ``mask`` is False.

    Values below 0, and those that are not finite, count as 0.
    """
    shares = np.empty_like(values)
    _log_shares(values, mask, least, shares)
    return shares


@njit(nogil=True, cache=True)
def _log_shares(values: np.ndarray, mask: np.ndarray, least: float, shares: np.ndarray) -> None:
    for row in range(len(values)):
        given, valid, found = values[row], mask[row], shares[row]
        total = 0.0
        for j in range(len(given)):
            if valid[j] and np.isfinite(given[j]) and given[j] > 0.0:
                total += given[j]
        for j in range(len(given)):
            if not valid[j]:
                found[j] = np.nan
            elif np.isfinite(given[j]) and given[j] > 0.0:
                found[j] = np.log(np.float32(given[j] / total + least))
            else:
                found[j] = np.log(np.float32(least))


def log_places(values: FloatArray, mask: BoolArray) -> FloatArray:
    """−log of each value's place in its row, the greatest first; (B, K) to (B, K).

    Equal values share the best of their places. NaN where ``mask`` is False or the value is not finite.
    """
    places = np.empty_like(values)
    _log_places(values, mask, places)
    return places


@njit(nogil=True, cache=True)
def _log_places(values: np.ndarray, mask: np.ndarray, places: np.ndarray) -> None:
    for row in range(len(values)):
        given = np.where(mask[row] & np.isfinite(values[row]), values[row], np.float32(-np.inf))
        place, last = 0, np.float32(np.inf)
        for number, at in enumerate(np.argsort(-given)):
            if given[at] < last:
                place, last = number + 1, given[at]
            places[row, at] = np.nan if given[at] == -np.inf else -np.log(np.float32(place))


def standardise(columns: FloatArray, scale: FloatArray, clip: float, missing: float, out: FloatArray) -> None:
    """Write numbers (P, B, K) to ``out`` (B, K, P), standardised by means and deviations (2, P).

    Results lie within ±``clip``; what is not finite becomes ``missing``.
    """
    _standardise(columns, scale[0], scale[1], clip, missing, out)


@njit(nogil=True, cache=True)
def _standardise(
    columns: np.ndarray, mean: np.ndarray, deviation: np.ndarray, clip: float, missing: float, out: np.ndarray
) -> None:
    n_columns, n_rows, k = columns.shape
    for row in range(n_rows):
        for j in range(k):
            for column in range(n_columns):
                value = columns[column, row, j]
                if np.isfinite(value):
                    scaled = (value - mean[column]) / deviation[column]
                    out[row, j, column] = min(max(scaled, -clip), clip)
                else:
                    out[row, j, column] = missing


@njit(nogil=True, cache=True)
def label_sums(
    offsets: np.ndarray,
    items: np.ndarray,
    label_offsets: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add the weight (L,) of each event to the labels of its item; ``sums`` (B, G) float64 are of each row's events."""
    for row in range(len(sums)):
        for event in range(offsets[row], offsets[row + 1]):
            for at in range(label_offsets[items[event]], label_offsets[items[event] + 1]):
                sums[row, labels[at]] += weights[event]


@njit(nogil=True, cache=True)
def rating_deviations(
    offsets: np.ndarray, rating: np.ndarray, counts: np.ndarray, means: np.ndarray, deviation: np.ndarray
) -> None:
    """Fill number and mean (B,) of each row's ratings, and each rating (L,) less its mean; NaN is no rating."""
    for row in range(len(counts)):
        total, n = 0.0, 0
        for event in range(offsets[row], offsets[row + 1]):
            if not np.isnan(rating[event]):
                total += rating[event]
                n += 1
        counts[row] = n
        means[row] = total / n if n > 0 else np.nan
        for event in range(offsets[row], offsets[row + 1]):
            deviation[event] = 0.0 if np.isnan(rating[event]) else rating[event] - means[row]


@njit(nogil=True, cache=True)
def sums_of_labels(
    values: np.ndarray, item_idx: np.ndarray, label_offsets: np.ndarray, labels: np.ndarray, sums: np.ndarray
) -> None:
    """Fill ``sums`` (B, K), given as zeros, with the values (B, L) of each candidate's labels; padding stays 0."""
    for row in range(len(sums)):
        for j in range(sums.shape[1]):
            if item_idx[row, j] >= 0:
                total = np.float32(0.0)
                for at in range(label_offsets[item_idx[row, j]], label_offsets[item_idx[row, j] + 1]):
                    total += values[row, labels[at]]
                sums[row, j] = total
