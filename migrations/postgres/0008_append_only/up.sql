-- The ledger and the trail only grow; the database itself refuses anything else.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END;
$$;
CREATE TRIGGER ledger_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_facts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_facts
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER catalog_revisions_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON catalog_revisions
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
