"""`homeostat demo`: a year at a phishing-detection team."""


def demo() -> None:
    """X"""
