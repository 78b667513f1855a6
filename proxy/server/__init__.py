"""The clients' side: listeners, and the connections that they accept."""
