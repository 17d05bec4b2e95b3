CREATE TABLE resources (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    id TEXT NOT NULL,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    service TEXT NOT NULL,
    plan TEXT NOT NULL,
    name TEXT NOT NULL,
    catalog_version BIGINT NOT NULL,
    catalog_digest TEXT NOT NULL,
    state TEXT NOT NULL,
    state_reason TEXT,
    hold_id TEXT,
    payment_token_id TEXT,
    configuration TEXT NOT NULL,
    sealed_credentials TEXT,
    credentials_shown_at BIGINT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, id)
);
CREATE UNIQUE INDEX resources_by_id ON resources (id);
CREATE TABLE operations (
    account_id TEXT NOT NULL,
    id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    verb TEXT NOT NULL,
    state TEXT NOT NULL,
    step TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    reason TEXT,
    created_at BIGINT NOT NULL,
    deadline_at BIGINT NOT NULL,
    next_try_at BIGINT,
    finished_at BIGINT,
    PRIMARY KEY (account_id, id)
);
CREATE INDEX operations_due ON operations (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE TABLE usage_events (
    source TEXT NOT NULL,
    event_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    account_id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    meter TEXT NOT NULL,
    quantity TEXT NOT NULL,
    cost BIGINT NOT NULL CHECK (cost >= 0),
    at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (source, event_id)
);
CREATE TABLE usage_totals (
    account_id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    meter TEXT NOT NULL,
    period_start BIGINT NOT NULL,
    quantity TEXT NOT NULL,
    charged BIGINT NOT NULL CHECK (charged >= 0),
    PRIMARY KEY (account_id, resource_id, meter, period_start)
);
-- The first answer to a keyed request, sealed, so that every retry gets it again.
CREATE TABLE idempotency_keys (
    account_id TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    subject TEXT,
    sealed_answer TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, key_hash)
);
