DROP TABLE outbox_deliveries;
DROP TABLE wire_resources;
DROP TABLE refresh_tokens;
DROP TABLE authorization_codes;
DROP TABLE account_requests;
DROP TABLE wire_secrets;
DROP TABLE wire_settings;
