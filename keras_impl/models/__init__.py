"""MobileNetV2, the SSD built on it, and what a network costs."""
