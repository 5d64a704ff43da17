"""Who may call: the admin key."""
