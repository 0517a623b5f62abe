"""The examples run, offline, and print what they say."""
