"""Follow events with many readers and webhooks while replicas are killed: ``make readers``."""
