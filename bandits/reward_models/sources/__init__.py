"""Readers of public click logs, each in the schema in which it is published; nothing is downloaded."""
