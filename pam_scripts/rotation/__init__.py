"""A rotation: its order, its steps and the roles of those who take part. No vendor in here."""
