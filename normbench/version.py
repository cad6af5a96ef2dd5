"""The version of normbench, which an environment record holds."""

VERSION = "0.1.0"
