"""TMDb: fetching movies, and their documents as four related tables."""

FOLDER = "tmdb"  # under raw/ and processed/
