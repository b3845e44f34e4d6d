//! What the end-to-end tests share: the daemon under test, the registry, the images, the leak check.
