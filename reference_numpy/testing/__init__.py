"""Cases, workloads and conflicts that tests, parity checks and benchmarks share."""
