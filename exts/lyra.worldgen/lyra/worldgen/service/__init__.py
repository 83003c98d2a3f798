"""Worlds over the wire: a server that performs a session's commands for users with tokens."""
