"""The study, a library: what is on disk (read), then figures, tables and the report of it. No torch, no command.

Imports go one way: the report uses tables and figures, tables use figures, and all of them what is read.
"""
