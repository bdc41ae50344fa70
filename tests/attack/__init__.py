"""`make attack`: hostile clients, workers and databases, one kind in each file.

Only against 127.0.0.1 and processes of the tests; all loops are bounded in count and time.
"""
