"""The experiments that have an ID: their cards, their configurations, and running one or many of them."""
