"""Rules in other people's training loops."""
