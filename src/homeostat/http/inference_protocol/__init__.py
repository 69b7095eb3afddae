"""The Open Inference Protocol (version 2): https://github.com/open-inference/open-inference-protocol.

With Triton's extensions for binary tensor data, for the model configuration, the model repository and statistics:
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

from homeostat.http.inference_protocol.messages import Ready
from homeostat.http.inference_protocol.routes import operations

__all__ = ["Ready", "operations"]
