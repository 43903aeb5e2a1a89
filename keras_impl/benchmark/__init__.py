"""What `ssd bench` measures: plan, run, records, page."""
