"""Try to lead the control plane to addresses that it must not call, by every form of address that we know.

A real server gets clients and webhooks with these addresses, trains and sends events, while canaries listen on the
loopback and interface addresses of this machine. No canary may be connected to.
"""
