"""The use cases: each one function, called by the commands and by programs alike."""
