"""Call the REST API without its models: send requests, repeat them, and raise refusals as exceptions.

It needs only httpx2, so that a device which only registers itself can use it.
"""
