"""Who may go to a worker now, and who waits: a bounded queue that is fair between clients."""
