"""What the commands do, without the command line: opening data, parsing values, run folders, the runs themselves."""
