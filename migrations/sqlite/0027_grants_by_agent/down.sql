CREATE INDEX grants_by_account ON grants (account_id, id);
