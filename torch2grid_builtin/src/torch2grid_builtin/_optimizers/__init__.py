"""What a training checkpoint says of its optimizer: which state belongs to which parameter, and the last update."""
