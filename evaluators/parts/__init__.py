"""Building blocks that several label regimes, evaluators and measures share.

- `stored`, `top`: labels on disk, complete or only their largest logits.
- `pool`: labels of a few batches, from which the student draws.
- `features`: features and statistics of real and synthetic images in two networks.
- `formulas`: distances between sets of features.
- `neighbours`: arrays for the plots of nearest real images and of feature maps.
"""
