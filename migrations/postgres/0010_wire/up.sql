-- How an orchestrator speaks the provisioning wire. Without a row it does not speak it.
CREATE TABLE wire_settings (
    orchestrator_id TEXT NOT NULL PRIMARY KEY REFERENCES orchestrators (id),
    kind TEXT NOT NULL,
    profile TEXT NOT NULL,
    signature_mode TEXT NOT NULL,
    account_answer TEXT NOT NULL,
    required_information TEXT NOT NULL,
    callback_url TEXT,
    public_keys_url TEXT,
    sealed_public_keys_token TEXT,
    client_id TEXT,
    client_secret_hash TEXT,
    notification_url TEXT,
    sealed_notification_secret TEXT,
    changed_at BIGINT NOT NULL
);
-- The secrets with which it signs. Several while one replaces another.
CREATE TABLE wire_secrets (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    id TEXT NOT NULL,
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    PRIMARY KEY (orchestrator_id, id)
);
-- Requests for an account that a human has to answer, or that lack information.
CREATE TABLE account_requests (
    id TEXT NOT NULL PRIMARY KEY,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    request_key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    email_index TEXT,
    account_id TEXT REFERENCES accounts (id),
    client TEXT NOT NULL,
    scope TEXT NOT NULL,
    code_challenge TEXT,
    sealed_confirmation_secret TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_at BIGINT
);
CREATE UNIQUE INDEX account_requests_by_key ON account_requests (orchestrator_id, request_key);
CREATE INDEX account_requests_by_end ON account_requests (expires_at);
CREATE INDEX account_requests_by_account ON account_requests (account_id, state);
-- Authorization codes: one use, five minutes.
CREATE TABLE authorization_codes (
    code_hash TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    client TEXT NOT NULL,
    scope TEXT NOT NULL,
    code_challenge TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX authorization_codes_by_end ON authorization_codes (expires_at);
-- Refresh tokens. Each stands for one access token: replacing it ends both.
CREATE TABLE refresh_tokens (
    token_hash TEXT NOT NULL PRIMARY KEY,
    family TEXT NOT NULL,
    grant_id TEXT NOT NULL REFERENCES grants (id),
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    client TEXT NOT NULL,
    scope TEXT NOT NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    replaced_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_by_end ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_by_account ON refresh_tokens (account_id);
-- What an orchestrator calls a resource that it bought or linked. Without a row it may not touch it.
CREATE TABLE wire_resources (
    account_id TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    orchestrator_resource_id TEXT,
    environment TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, resource_id)
);
-- In which of the orchestrator's projects a resource is; the parent under whose price it was sold; to which plan it is
-- being changed; how often its credentials were replaced, and until when the ones before still work.
ALTER TABLE resources ADD COLUMN project_id TEXT;
ALTER TABLE resources ADD COLUMN price_parent TEXT;
ALTER TABLE resources ADD COLUMN changing_to TEXT;
ALTER TABLE resources ADD COLUMN generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE resources ADD COLUMN old_credentials_until BIGINT;
-- At which step an operation failed.
ALTER TABLE operations ADD COLUMN failed_step TEXT;
CREATE INDEX operations_by_resource ON operations (account_id, resource_id);
-- What a resource becomes when the operation of this row is done.
CREATE TABLE plan_changes (
    account_id TEXT NOT NULL,
    operation_id TEXT NOT NULL,
    service TEXT NOT NULL,
    plan TEXT NOT NULL,
    configuration TEXT NOT NULL,
    catalog_version BIGINT NOT NULL,
    catalog_digest TEXT NOT NULL,
    price_parent TEXT,
    hold_id TEXT,
    payment_token_id TEXT,
    sealed_credentials TEXT,
    PRIMARY KEY (account_id, operation_id)
);
-- Events on their way to an orchestrator.
CREATE TABLE outbox_deliveries (
    event_id TEXT NOT NULL REFERENCES outbox_events (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_try_at BIGINT,
    last_error TEXT,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (event_id, orchestrator_id)
);
CREATE INDEX outbox_deliveries_due ON outbox_deliveries (next_try_at) WHERE next_try_at IS NOT NULL;
