"""The page that tells the deck with the user's own runs and studies."""
