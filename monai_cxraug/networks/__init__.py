"""Networks: plain PyTorch modules that know nothing of data, training or files."""
