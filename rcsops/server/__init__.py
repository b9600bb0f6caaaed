"""The embedded engine: registrar, location service, stateful proxy and its management interface."""
