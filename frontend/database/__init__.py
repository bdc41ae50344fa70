"""The database: SQLite or PostgreSQL, its connections and its schema."""
