"""MobileNetV2, SSD on MobileNetV2, and their parameters and multiply-adds."""
