DROP TRIGGER ledger_entries_append_only ON ledger_entries;
DROP TRIGGER audit_facts_append_only ON audit_facts;
DROP TRIGGER catalog_revisions_append_only ON catalog_revisions;
DROP FUNCTION refuse_change();
