"""The proof: every fault at every request, two rotations in every order, and what must hold throughout."""
