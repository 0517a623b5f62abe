"""One plain function a change, named for what it records; all of it commits together or not at all.

A function here takes a `Port` that is inside a transaction. It cannot await, so it can neither be cancelled half-way
nor interleave; it raises before it has changed anything that its caller would keep, because the writer rolls its
savepoint back. Nothing but `store` imports these.
"""
