"""Questions of the dashboard, answered by a process of their own, which gives way to all others.

A thread cannot give way: while it holds the interpreter's lock, the event loop waits for it, and
the less of the processor it gets, the longer (docs/decisions/0018).

`messages`: what the two say to each other; `child`: the process; `session`: our end of it.
"""
