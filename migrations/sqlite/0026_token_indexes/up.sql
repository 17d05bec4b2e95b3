-- What every token writes, in fewer trees: tokens that come of no consent are not found by one, and those that come of one are
-- found by it and not by their family. Refresh tokens of an account are found by its agents.
DROP INDEX grants_by_consent;
CREATE INDEX grants_by_consent ON grants (consent_id) WHERE consent_id IS NOT NULL;
DROP INDEX refresh_tokens_by_consent;
CREATE INDEX refresh_tokens_by_consent ON refresh_tokens (consent_id) WHERE consent_id IS NOT NULL;
DROP INDEX refresh_tokens_by_family;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family) WHERE consent_id IS NULL;
DROP INDEX refresh_tokens_by_account;
