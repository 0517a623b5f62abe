"""The main job, shown in seconds without a key: an agent is killed in the middle of a payment, and goes on.

`agent` is the agent of the story (three tools, a ledger of what they really did, what the scripted model says);
`worker` a process that runs it and may be killed; `story` runs the processes and checks every claim against the ledger;
`words` prints it, `command` is `power-loop demo`.
"""
