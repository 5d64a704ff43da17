"""The log of events: what readers of it ask for, and how long events are kept."""
