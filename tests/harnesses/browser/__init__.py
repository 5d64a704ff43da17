"""Drive the dashboard in a real browser: ``make browser``."""
