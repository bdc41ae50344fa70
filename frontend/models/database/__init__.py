"""The database of presets and blobs: SQLite or PostgreSQL, its connections and its schema."""
