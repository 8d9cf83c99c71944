"""Comparisons: ablations, tables over many models, the funnel, trade-off curves."""

RECALL_KS = (10, 20, 50, 100, 200, 500)
PIPELINE_KS = (10, 20, 50, 100, 200)
