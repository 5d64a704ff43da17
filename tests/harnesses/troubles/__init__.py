"""Cause one trouble after another, and check that trainings continue or name the cause within 10 s: ``make faults``.

A trouble is a function that uses a `Stage`: a server of its own with a few agents and a training. `clock` steps the
clock of the server, `limits` takes its disk, descriptors and memory, `databases` slows or cuts its connection to
Postgres, and in `fleet` agents leave, move and appear twice.
"""
