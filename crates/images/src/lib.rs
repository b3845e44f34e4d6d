//! Images: references, registries, layers, snapshots, the image index. No CRI types.
