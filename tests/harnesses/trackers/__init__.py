"""Write to a real tracker: ``make trackers``."""
