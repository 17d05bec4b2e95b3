-- What an orchestrator passed on about a person, sealed, for each orchestrator apart.
CREATE TABLE account_information (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    field TEXT NOT NULL,
    sealed_value TEXT NOT NULL,
    verified BOOLEAN NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, orchestrator_id, field)
);
-- The same of a request that waits for its human: JSON, each value sealed for its place in the table above.
ALTER TABLE account_requests ADD COLUMN information TEXT NOT NULL DEFAULT '[]';
-- Signatures of the second scheme that were used, by their `jti`: each is good for one request, and for its repetitions.
CREATE TABLE signature_uses (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    jti_hash TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    refused_from BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, jti_hash)
);
CREATE INDEX signature_uses_by_end ON signature_uses (refused_from);
-- How many accounts an orchestrator opened in each hour, whichever process did it.
CREATE TABLE account_openings (
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    hour_start BIGINT NOT NULL,
    opened BIGINT NOT NULL,
    PRIMARY KEY (orchestrator_id, hour_start)
);
