"""``make hostile``: agents and callers attack one server over real sockets, beside a fleet that only wants to train.

`agents` answer the server's calls wrongly (`framing`: the HTTP around an answer, `results`: what is in it). `callers`
call its API wrongly, with and without a key. `benchmarks.beats` is the server's process with a watch on its event loop.
`attack` brings them together, and `judgement` compares what was seen with what must hold.
"""
