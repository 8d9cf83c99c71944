"""Fetch movies from TMDb, and write their documents as four related tables."""

FOLDER = "tmdb"  # under raw/ and processed/
