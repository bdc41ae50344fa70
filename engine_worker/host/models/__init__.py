"""What the store's files are: the engine that serves them, their description, the memory that they take."""
