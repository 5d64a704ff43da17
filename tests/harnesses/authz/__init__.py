"""Calls every operation of a server as every kind of caller, and checks that exactly the documented ones may."""
