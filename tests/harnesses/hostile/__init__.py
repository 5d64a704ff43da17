"""Attack a server with agents and callers over real sockets, while an honest fleet trains: ``make hostile``.

The hostile `agents` answer the server's calls wrongly (`framing`: wrong HTTP, `results`: wrong content, `impostors`:
wrong signatures). The callers (`kinds`) call its API wrongly: `callers` and `bombs` with strange requests, `intruders`
with keys and invitations that are wrong or not for this. Each kind has an address of its own, by which the audit trail
has to name it. `benchmarks.beats` runs the server and watches its event loop. `attack` starts all of them, and
`judgement` and `judgement_of_callers` compare what was seen with what must hold.
"""
