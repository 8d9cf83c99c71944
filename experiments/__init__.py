"""What compares: ablations, tables over many models, the funnel, trade-off curves."""
