"""The study, a library without commands: reads what is on disk, makes figures, tables, a report.

Imports go one way: report to tables to figures to read. None of them needs torch.
"""
