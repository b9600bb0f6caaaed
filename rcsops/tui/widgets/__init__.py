"""The parts of the chat screen. What happens in them goes up as messages."""
