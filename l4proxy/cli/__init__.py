"""The command line: `main` finds the command, one module each has the commands themselves."""
