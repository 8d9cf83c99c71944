"""Readers of raw files to typed tables with line numbers: all MovieLens layouts, and own data."""
