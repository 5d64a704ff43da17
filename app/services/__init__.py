"""Use cases: each opens its transactions, asks the domain for decisions and acts on them."""
