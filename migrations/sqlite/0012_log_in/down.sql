DROP TABLE mails;
DROP TABLE passkeys;
DROP TABLE upstream_links;
DROP TABLE log_in_steps;
ALTER TABLE accounts ADD COLUMN spending_stopped_by TEXT;
ALTER TABLE sessions DROP COLUMN authenticated_at;
ALTER TABLE sessions DROP COLUMN method;
