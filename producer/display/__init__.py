"""What people see of a job while it runs and at its end."""
