"""Interleavings: what happens at once is taken apart and put together in every order that a seed can name.

In one process: `shuffled` is an event loop whose order is a seed's choice, `agent` the app that runs on it, `scenario`
what a seed has many callers do at once, `oracle` what must be true afterwards, `explore` the command. Between two
processes: `held` stops one at any statement, `pairs` lets another act meanwhile and judges both, `sweep` is the
command.
"""
