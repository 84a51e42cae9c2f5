"""Data: index-addressable sets, batched augmentation."""
