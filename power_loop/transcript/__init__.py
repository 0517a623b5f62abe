"""What the model sees, and the provider's rules for it. Pure: no I/O, no clock; knows messages and nothing else.

`view` is a session's active messages in order, `rules` says what is wrong with a history, `measure` how big a text is,
`shorten` makes a part of a large result, `recall` says so in its text.
Invariant: what `view` gives out follows `rules` whenever no call of its last answer is open.
"""
