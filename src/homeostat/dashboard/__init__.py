"""The pages that show people what is served and how it does: records in, HTML out; no HTTP and no store."""
