"""Attack a server with agents and callers over real sockets, while an honest fleet trains: ``make hostile``.

The hostile `agents` answer the server's calls wrongly (`framing`: wrong HTTP, `results`: wrong content). The `callers`
call its API wrongly, with and without a key. `benchmarks.beats` runs the server and watches its event loop. `attack`
starts all of them, and `judgement` compares what was seen with what must hold.
"""
