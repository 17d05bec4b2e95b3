-- The ledger and the trail only grow; the database itself refuses anything else.
CREATE TRIGGER ledger_entries_no_update BEFORE UPDATE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END;
CREATE TRIGGER ledger_entries_no_delete BEFORE DELETE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger_entries is append-only'); END;
CREATE TRIGGER audit_facts_no_update BEFORE UPDATE ON audit_facts
BEGIN SELECT RAISE(ABORT, 'audit_facts is append-only'); END;
CREATE TRIGGER audit_facts_no_delete BEFORE DELETE ON audit_facts
BEGIN SELECT RAISE(ABORT, 'audit_facts is append-only'); END;
CREATE TRIGGER catalog_revisions_no_update BEFORE UPDATE ON catalog_revisions
BEGIN SELECT RAISE(ABORT, 'catalog_revisions is append-only'); END;
CREATE TRIGGER catalog_revisions_no_delete BEFORE DELETE ON catalog_revisions
BEGIN SELECT RAISE(ABORT, 'catalog_revisions is append-only'); END;
