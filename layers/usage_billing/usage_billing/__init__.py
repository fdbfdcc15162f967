"""Usage-based billing: record usage, compare it with the plan, bill what lies beyond it. See README.md."""
