"""What happens when an alert is raised or cleared: files, commands, webhooks, a local broker."""
