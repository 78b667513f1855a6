"""The way to the backends: endpoints and their health, connections and their pool, the choice among them."""
