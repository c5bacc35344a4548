"""Configs, the runner, run folders, reports and the command line. Modules are imported by name: nothing loads here."""
