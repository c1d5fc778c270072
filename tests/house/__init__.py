"""The rules of this house that no linter knows, as functions over source text.

A rule takes modules (`source.Module`) or texts and yields `source.Fault`s. `tests/test_house.py`
applies them to this repository, `tests/unit/test_house_rules.py` breaks each of them once. What a
rule lets pass is named in a table, with the reason; an entry that nothing needs any more is a
fault too (`source.stale`).
"""
