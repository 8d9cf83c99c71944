"""Click probabilities from a ranker's scores, fitted on users that the ranker was not trained on.

Isotonic regression: Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates,
KDD 2002. Platt scaling: Platt, Probabilistic Outputs for Support Vector Machines, 1999. Both are monotone in the score,
so the order of the candidates never changes; isotonic regression may give neighbours the same probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from reccore.arrays import FloatArray

Values = npt.NDArray[np.float64]
CalibrationKind = Literal["isotonic", "platt", "none"]


def sigmoid(scores: FloatArray) -> Values:
    """1 / (1 + exp(−s)) of logits, without overflow."""
    s = np.asarray(scores, dtype=np.float64)
    small = np.exp(-np.abs(s))
    return np.where(s >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


@dataclass(frozen=True, eq=False)
class Calibration:
    """A non-decreasing function from scores to probabilities.

    Attributes:
        kind: ``isotonic`` or ``platt``.
        scores: isotonic: ascending knots; platt: (1,) slope ≥ 0.
        probabilities: isotonic: the probability at each knot, linear between them and constant beyond; platt: (1,)
            intercept.
    """

    kind: str
    scores: Values
    probabilities: Values

    @classmethod
    def fit(
        cls, kind: CalibrationKind, scores: FloatArray, labels: FloatArray, weight: FloatArray | None = None
    ) -> Calibration:
        """Fit on (N,) scores, labels and weights, with at least one positive and one negative.

        Isotonic probabilities stay within [1/(N+2), 1 − 1/(N+2)], since no number of rows proves certainty. A Platt
        slope below 0, for scores that put negatives first, becomes 0.
        """
        s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if kind == "isotonic":
            return _fit_isotonic(s, y, weight)
        return _fit_platt(s, y, weight)

    def __call__(self, scores: FloatArray) -> Values:
        """Probabilities of scores of any shape."""
        s = np.asarray(scores, dtype=np.float64)
        if self.kind == "isotonic":
            return np.interp(s, self.scores, self.probabilities)
        return sigmoid(self.scores[0] * s + self.probabilities[0])

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Plain arrays for a bundle."""
        return {"kind": np.array(self.kind), "scores": self.scores, "probabilities": self.probabilities}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Calibration:
        """Inverse of ``to_arrays``."""
        return cls(str(arrays["kind"]), arrays["scores"], arrays["probabilities"])


def _fit_isotonic(scores: Values, labels: Values, weight: FloatArray | None) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    margin = 1.0 / (len(labels) + 2)
    fitted = IsotonicRegression(y_min=margin, y_max=1.0 - margin, out_of_bounds="clip").fit(scores, labels, weight)
    return Calibration("isotonic", fitted.X_thresholds_, fitted.y_thresholds_)


def _fit_platt(scores: Values, labels: Values, weight: FloatArray | None) -> Calibration:
    from sklearn.linear_model import LogisticRegression

    deviation = float(scores.std()) or 1.0  # of standardised scores the solver finds the optimum in a few steps
    mean = float(scores.mean())
    standard = ((scores - mean) / deviation)[:, None]
    fitted = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(standard, labels, weight)
    slope, intercept = float(fitted.coef_[0, 0]) / deviation, float(fitted.intercept_[0])
    if slope < 0.0:
        rate = float(np.average(labels, weights=weight))
        slope, intercept = 0.0, float(np.log(rate / (1.0 - rate)))
    return Calibration("platt", np.array([slope]), np.array([intercept - slope * mean]))
