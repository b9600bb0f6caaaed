"""Peers written from the RFCs alone: sockets of the standard library, nothing of rcsops in them."""
