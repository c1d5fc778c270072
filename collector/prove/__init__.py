"""`collector prove`: whether acknowledged events survive on somebody's own disk.

A client of a collector that it starts itself, loads, kills and starts again. Shares nothing with
that collector but its files, which it reads as anybody may.
"""
