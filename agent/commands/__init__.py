"""What the command line can do, one file a command; a command's own imports happen when it runs, so that help comes at once."""
