"""What makes pages of the site."""
