"""Arms compared on live traffic: their buckets, their life, and what decides between them."""
