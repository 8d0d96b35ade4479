"""Tests of the documents: what is generated is as the code has it, and every link leads somewhere."""
