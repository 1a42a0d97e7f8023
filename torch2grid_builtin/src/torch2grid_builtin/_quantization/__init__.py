"""What storing weights in fewer bits would cost: schemes, and the error of each."""
