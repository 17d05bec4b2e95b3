CREATE INDEX refresh_tokens_by_account ON refresh_tokens (account_id);
DROP INDEX refresh_tokens_by_family;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
DROP INDEX refresh_tokens_by_consent;
CREATE INDEX refresh_tokens_by_consent ON refresh_tokens (consent_id);
DROP INDEX grants_by_consent;
CREATE INDEX grants_by_consent ON grants (consent_id);
