-- One tree less that every token writes, each time at another place: the grants of an account are found by its agents.
DROP INDEX grants_by_account;
