-- What every token writes, in fewer trees: what came of a consent is found by the agent that it was given to, and a family of
-- refresh tokens is what only those have that come of no consent.
DROP INDEX grants_by_consent;
DROP INDEX refresh_tokens_by_consent;
DROP INDEX refresh_tokens_by_account;
DROP INDEX refresh_tokens_by_family;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family) WHERE consent_id IS NULL;
