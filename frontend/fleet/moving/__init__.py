"""A request that outlives its workers: what it has produced, and how it goes on elsewhere."""
