"""The benchmark behind `ssd bench`: plan, run, records, page."""
