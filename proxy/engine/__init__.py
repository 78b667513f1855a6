"""The exchange: one request from its head to the end of its response, between any downstream and any upstream."""
