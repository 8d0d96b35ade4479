"""What comes with the scripts: packages, releases, and the forms of those who read the project."""
