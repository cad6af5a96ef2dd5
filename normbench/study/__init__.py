"""From records on disk to tables and figures, without torch. Data flows one way: collect, select, stats, figures."""
