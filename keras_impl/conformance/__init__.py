"""Any SSD held to the reference, with NumPy alone: operations, workloads, judges, budgets."""
