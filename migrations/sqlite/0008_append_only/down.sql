DROP TRIGGER ledger_entries_no_update;
DROP TRIGGER ledger_entries_no_delete;
DROP TRIGGER audit_facts_no_update;
DROP TRIGGER audit_facts_no_delete;
DROP TRIGGER catalog_revisions_no_update;
DROP TRIGGER catalog_revisions_no_delete;
