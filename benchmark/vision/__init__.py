"""The shared vision toolbox: data, networks, augmentation, training."""
