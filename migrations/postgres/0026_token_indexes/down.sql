DROP INDEX refresh_tokens_by_family;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_account ON refresh_tokens (account_id);
CREATE INDEX refresh_tokens_by_consent ON refresh_tokens (consent_id);
CREATE INDEX grants_by_consent ON grants (consent_id);
