"""The only place where `await` meets model, tools and sink. Start with `drive`: it reads like a sentence.

`drive` runs a turn to its end; `ask`, `act` and `fold` are its steps, `model` is one request; `turn` is what it knows
and the one way to change it; `reopen` makes a turn from what the store says; `stop` is how it is stopped. Invariant:
what the engine decides is done, what is done is recorded before anything depends on it.
"""
