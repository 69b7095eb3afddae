"""The HTTP edge: data plane, control plane, health and metrics, thin over services that know no HTTP."""
