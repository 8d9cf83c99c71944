"""Losses of neural channels: one file per training mode, chosen by ``loss.kind`` (``choose.LossConfig``)."""
