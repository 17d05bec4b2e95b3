-- The question of a client that an account's human is looking at. Others of the same client wait.
CREATE TABLE consent_turns (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    client TEXT NOT NULL,
    resource TEXT NOT NULL,
    handle_hash TEXT NOT NULL,
    sealed_handle TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, client, resource)
);
CREATE INDEX consent_turns_by_end ON consent_turns (expires_at);
-- How often a client asked a human on one day, how often in a row it was denied, and until when it waits.
CREATE TABLE consent_patience (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    client TEXT NOT NULL,
    day_start BIGINT NOT NULL,
    prompts BIGINT NOT NULL,
    denials BIGINT NOT NULL,
    waits_until BIGINT,
    PRIMARY KEY (account_id, client)
);
CREATE INDEX consent_patience_by_day ON consent_patience (day_start);
-- What a human refused a client, by scope and by the limits that were asked for: the last time.
CREATE TABLE scope_refusals (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    client TEXT NOT NULL,
    resource TEXT NOT NULL,
    scope TEXT NOT NULL,
    client_digest TEXT NOT NULL,
    details_digest TEXT NOT NULL,
    refused_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, client, resource, scope, details_digest)
);
CREATE INDEX scope_refusals_by_age ON scope_refusals (refused_at);
-- Whether nobody was asked for it, because others covered it: it ends with those.
ALTER TABLE consents ADD COLUMN remembered BOOLEAN NOT NULL DEFAULT FALSE;
-- The lines of a plan that a human allowed: how many of what, and how much one may cost in a month.
CREATE TABLE allowance_lines (
    account_id TEXT NOT NULL,
    allowance_id TEXT NOT NULL,
    service TEXT NOT NULL,
    plan TEXT NOT NULL,
    currency TEXT,
    price_ceiling BIGINT NOT NULL CHECK (price_ceiling >= 0),
    max_count BIGINT NOT NULL CHECK (max_count >= 0),
    made BIGINT NOT NULL CHECK (made >= 0 AND made <= max_count),
    PRIMARY KEY (account_id, allowance_id, service, plan),
    FOREIGN KEY (account_id, allowance_id) REFERENCES allowances (account_id, id)
);
-- To remove was part of `resources:write` until now: whoever was allowed it keeps it.
UPDATE identity_links SET scopes = REPLACE(scopes, 'resources:write', 'resources:write resources:delete')
    WHERE scopes LIKE '%resources:write%';
UPDATE account_requests SET scope = REPLACE(scope, 'resources:write', 'resources:write resources:delete')
    WHERE scope LIKE '%resources:write%';
UPDATE authorization_codes SET scope = REPLACE(scope, 'resources:write', 'resources:write resources:delete')
    WHERE scope LIKE '%resources:write%';
UPDATE refresh_tokens SET scope = REPLACE(scope, 'resources:write', 'resources:write resources:delete')
    WHERE scope LIKE '%resources:write%';
UPDATE grants SET scope = REPLACE(scope, 'resources:write', 'resources:write resources:delete')
    WHERE scope LIKE '%resources:write%';
UPDATE consents SET scope = REPLACE(scope, 'resources:write', 'resources:write resources:delete')
    WHERE scope LIKE '%resources:write%';
