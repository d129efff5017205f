"""The command line: parse options, call the other rooms, print."""
