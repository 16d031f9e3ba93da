"""Passes over VM functions and over emitted code, one a file."""
