"""Cases, workloads and conflicts: what tests, parity and benchmarks of both sides share."""
