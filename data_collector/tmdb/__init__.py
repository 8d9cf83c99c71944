"""TMDb: fetching movies, and their documents as four related tables."""
