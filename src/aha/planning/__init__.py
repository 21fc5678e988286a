"""Before anything is downloaded: does a stage fit the machine, how long may it take, and what would change it."""
