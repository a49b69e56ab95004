"""What RFC 6455 demands of the echo door, checked octet by octet over plain sockets."""
