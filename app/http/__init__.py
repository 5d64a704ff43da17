"""What HTTP needs around the routes: bodies and their bounds, errors, answers, the OpenAPI document."""
