"""The command line: parse options, call the other packages, print."""
