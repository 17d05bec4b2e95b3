CREATE TABLE orchestrators (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    issuer TEXT NOT NULL UNIQUE,
    client_id TEXT NOT NULL,
    algorithms TEXT NOT NULL,
    existing_account TEXT NOT NULL,
    may_open_accounts BOOLEAN NOT NULL,
    email_domains TEXT NOT NULL,
    settlement_url TEXT,
    currency TEXT NOT NULL,
    monthly_ceiling BIGINT NOT NULL CHECK (monthly_ceiling >= 0),
    provisional_ceiling BIGINT NOT NULL CHECK (provisional_ceiling >= 0),
    origin TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    suspended_at BIGINT
);
CREATE TABLE accounts (
    id TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL,
    opened_by TEXT NOT NULL REFERENCES orchestrators (id),
    email TEXT,
    email_index TEXT,
    email_skeleton TEXT,
    email_trust TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    spending_stopped_at BIGINT,
    spending_stopped_by TEXT
);
CREATE INDEX accounts_by_email ON accounts (email_index);
CREATE INDEX accounts_by_skeleton ON accounts (email_skeleton);
-- Whose an address is, once an authority over its domain has vouched for it. The key lets one account have it.
CREATE TABLE email_owners (
    email_index TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    claimed_at BIGINT NOT NULL
);
CREATE TABLE identity_links (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    created_at BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, tenant, subject)
);
CREATE INDEX identity_links_by_account ON identity_links (account_id);
-- Single use of an assertion: the key refuses the second use, in the transaction that opens the account.
CREATE TABLE assertion_uses (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    assertion_key TEXT NOT NULL,
    assertion_hash TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    sealed_answer TEXT NOT NULL,
    used_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, assertion_key)
);
CREATE INDEX assertion_uses_expiry ON assertion_uses (expires_at);
CREATE TABLE grants (
    id TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    client TEXT NOT NULL,
    scope TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX grants_by_account ON grants (account_id, id);
