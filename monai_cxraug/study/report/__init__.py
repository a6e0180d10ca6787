"""The page of a reader study: what the readers saw, and which distance sees it too."""
