"""``make faults``: one trouble after another, and each ends in progress, or in a state that names its cause, in 10 s.

A trouble is a function over a `Stage`: a server of its own with a few agents and a training. `clock` steps its clock,
`limits` takes its disk, descriptors and memory, `databases` slows and cuts its line to Postgres, `fleet` has agents
leave, move and double.
"""
