"""What people see: the command line. It may use everything else, nothing else uses it."""
