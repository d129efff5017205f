"""From records to results: the leaderboard, standings, scores, costs, measures and differences."""
