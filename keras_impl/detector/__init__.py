"""Images in, detections out; and the same detector in other runtimes."""
