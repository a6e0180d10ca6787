"""From a folder of radiographs to training tensors: manifest, pack, splits, mixing."""
