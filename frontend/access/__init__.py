"""Who may do what: keys, their roles and limits."""
