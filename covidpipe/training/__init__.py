"""How networks are trained: losses, augmentation, batches, the fit itself."""
