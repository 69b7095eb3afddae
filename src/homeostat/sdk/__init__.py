"""The client of a server: the data plane and the control plane from another process or machine."""

from homeostat.sdk.client import Client

__all__ = ["Client"]
