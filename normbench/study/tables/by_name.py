"""The tables by the names they are asked for: each is a pure function of the runs on disk."""

from collections.abc import Callable

from normbench.study.tables.claims import claims
from normbench.study.tables.cross_iteration_bn_2021 import cbn_table
from normbench.study.tables.group_norm_2018 import gn_table1, gn_table2, gn_table3
from normbench.study.tables.summary import summary
from normbench.study.tables.table import Table

TABLES: dict[str, Callable[..., Table]] = {
    "gn_table1": gn_table1,
    "gn_table2": gn_table2,
    "gn_table3": gn_table3,
    "cbn_table": cbn_table,
    "summary": summary,
    "claims": claims,
}
