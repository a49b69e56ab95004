"""What a client or an operator sees of a whole server: real processes, real sockets."""
