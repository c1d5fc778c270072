"""Fuzz targets: functions of bytes that must hold whatever the bytes are.

The same functions are run by hypothesis in every test run (`test_targets.py`, a few examples each)
and by atheris, guided by coverage, for as long as somebody lets it (`python -m tests.fuzz`).
`targets.py` has the table of them. Nothing is imported here: atheris wants to be first.
"""
