"""What lays datasets out and inspects them; evaluation needs none of it."""
