"""What an inference costs, operator by operator, and the forms in which it is shown."""
