DROP INDEX accounts_unusable;
CREATE INDEX accounts_unusable ON accounts (changed_at) WHERE state IN ('frozen', 'closed');
DROP INDEX resources_unwanted;
ALTER TABLE resources DROP COLUMN unwanted_at;
ALTER TABLE resources DROP COLUMN client;
DROP INDEX audit_facts_by_actor;
DROP INDEX refresh_tokens_by_agent;
DROP INDEX grants_by_agent;
DROP TABLE agents;
