"""Events for receivers that wait for them: signed, sent at least once, and tried again."""
