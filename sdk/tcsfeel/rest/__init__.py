"""Calls of the REST API without its models: requests, repeats, and refusals as exceptions.

It needs httpx2 and nothing else, so that a device which only registers itself can use it.
"""
