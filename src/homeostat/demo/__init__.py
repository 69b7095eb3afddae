"""The demo: a simulated year of e-mail traffic at a phishing-detection team, lived through by the platform."""
