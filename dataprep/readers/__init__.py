"""Raw files to typed tables with line numbers: MovieLens in all its layouts, and own data."""
