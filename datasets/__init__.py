"""The data that comes with the library; see README.md."""
