"""What the pages of ``docs/lecture`` use besides the agent: no command needs any of it."""
