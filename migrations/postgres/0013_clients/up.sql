-- OAuth clients that the operator registered or that registered themselves. Those that are the URL of their metadata have
-- no row.
CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    origin TEXT NOT NULL,
    metadata TEXT NOT NULL,
    secret_hash TEXT,
    account_id TEXT REFERENCES accounts (id),
    introspects BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);
CREATE INDEX clients_by_origin ON clients (origin, last_used_at);
-- Authorization requests: pushed (RFC 9126), then shown to a human, then answered once.
CREATE TABLE authorization_requests (
    handle_hash TEXT NOT NULL PRIMARY KEY,
    client TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    account_id TEXT REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_at BIGINT
);
CREATE INDEX authorization_requests_by_end ON authorization_requests (expires_at);
-- What a human allowed a client. Every token that came of it ends with it.
CREATE TABLE consents (
    id TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    client TEXT NOT NULL,
    client_digest TEXT NOT NULL,
    resource TEXT NOT NULL,
    scope TEXT NOT NULL,
    details TEXT NOT NULL,
    auth_time BIGINT,
    acr TEXT,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX consents_by_account ON consents (account_id, id);
ALTER TABLE authorization_codes ADD COLUMN consent_id TEXT;
ALTER TABLE authorization_codes ADD COLUMN redirect_uri TEXT;
ALTER TABLE authorization_codes ADD COLUMN bound_to TEXT;
ALTER TABLE refresh_tokens ADD COLUMN consent_id TEXT;
ALTER TABLE refresh_tokens ADD COLUMN bound_to TEXT;
CREATE INDEX refresh_tokens_by_consent ON refresh_tokens (consent_id);
ALTER TABLE grants ADD COLUMN consent_id TEXT;
CREATE INDEX grants_by_consent ON grants (consent_id);
-- What every process reads again and again: the tokens that ended before their time.
CREATE INDEX grants_revoked ON grants (expires_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX accounts_unusable ON accounts (changed_at) WHERE state IN ('frozen', 'closed');
-- Within which limits an agent may buy, as its human allowed it. Empty: no such limit.
CREATE TABLE allowances (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    id TEXT NOT NULL,
    currency TEXT,
    per_month BIGINT CHECK (per_month >= 0),
    single BIGINT CHECK (single >= 0),
    ends_at BIGINT,
    offers TEXT,
    max_count BIGINT,
    made BIGINT NOT NULL,
    PRIMARY KEY (account_id, id)
);
ALTER TABLE resources ADD COLUMN allowance_id TEXT;
