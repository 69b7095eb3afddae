"""Policy: findings and facts → actions."""
