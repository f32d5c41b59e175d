"""A replica's own listener: HTTP without Serve's ingress, on a port that the replicas share."""
