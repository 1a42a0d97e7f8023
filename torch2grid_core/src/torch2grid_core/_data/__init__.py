"""What a checkpoint is: where bytes are, tensors that read them when asked, and the mapping that holds them."""
