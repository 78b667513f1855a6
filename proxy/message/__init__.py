"""HTTP messages without their wire: heads, framing, hop-by-hop rules, forwarding headers, errors.

Pure: nothing here knows sockets, loops or codecs, so HTTP/1.1 and HTTP/2 share it.
"""
