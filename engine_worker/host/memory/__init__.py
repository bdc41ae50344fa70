"""The memory that a host gives to models: what there is, what they take, and whether one ran out of it."""
