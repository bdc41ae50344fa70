"""HTTP/1.1 below the routes: connections and their limits, the route table, and responses without a route."""
