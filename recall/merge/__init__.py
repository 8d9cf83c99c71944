"""Merge the candidates of several recall channels into one list per query.

``methods`` holds the options and points of each method, ``merging`` the function, ``kernel`` its compiled loop.
"""

from recall.merge.merging import fill_of, merge
from recall.merge.methods import MergeConfig, QuotaConfig, RRFConfig, ScoresConfig

__all__ = ["MergeConfig", "QuotaConfig", "RRFConfig", "ScoresConfig", "fill_of", "merge"]
