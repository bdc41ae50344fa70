"""HTTP/1.1 below the routes: what is read from a connection, and what is answered where no route fits."""
