"""Folding history: what may go, and what stands in its place. Pure, but for the model that a summary asks through.

`window` is what a strategy looks at and gives back; `strategies` those without a model (`uses`: what was used when),
`summary` the one with, `words` their names; `ladder` tries them in order and checks what they give; `notes` is the form
of what stands in the place of the folded. `loop.fold` asks and records.

Invariant: a call and its result go together or stay together; what must stay stays; at most one note.
"""
