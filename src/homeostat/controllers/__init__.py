"""The loop: lease → reconcile → requeue, and one file a controller."""
