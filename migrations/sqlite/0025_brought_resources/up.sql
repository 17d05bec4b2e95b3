-- Resources that came from another account of the same owner, and from which: whoever is distrusted had their hands on them
-- there. Whoever writes here is waited for when somebody is distrusted, by the reference to the orchestrator.
CREATE TABLE brought_resources (
    account_id TEXT NOT NULL REFERENCES accounts (id),
    resource_id TEXT NOT NULL,
    from_account TEXT NOT NULL REFERENCES accounts (id),
    orchestrator_id TEXT NOT NULL REFERENCES orchestrators (id),
    brought_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, resource_id)
);
CREATE INDEX brought_resources_by_origin ON brought_resources (orchestrator_id, from_account, account_id);
