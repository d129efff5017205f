"""Building blocks that several methods share; a method from outside may import all public names.

- `descent`: the loop on the pixels of images, for methods that match features or weights.
- `recover`, `objective`, `recover_state`: the recovery loop of the SRe2L family, and the terms of its loss.
- `matching`: distribution matching with random networks (DM, DataDAM).
- `gradients`: gradient matching with networks that learn from the synthetic images (DC, DSA).
- `cells`, `queue`, `pairs`: mosaics whose cells match real images, and the networks that see them (IDM, NCFM).
- `experts`, `flat_experts`, `unroll`: expert trajectories, and gradients through many training steps (MTT, FTD, DATM).
- `statistics`, `generalized`, `conditional`, `selfsupervised`: preparations, which all IPC share.
- `transport`: Wasserstein barycenters of the features of a class.
- `crops`, `jpeg`: crops of real images without aliasing, and compression of distilled images.
- `real`, `units`, `scratch`: real images, units of whole classes, and files that survive an interruption.
"""
