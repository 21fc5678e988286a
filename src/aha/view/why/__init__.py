"""Why a rollout was paid what it was paid: the problem as it was asked, and the graders' own code asked again."""
