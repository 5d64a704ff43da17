"""What keeps trainings going in this process: owners and their leases, loops, starts and stops."""
