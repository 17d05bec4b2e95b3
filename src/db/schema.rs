//! The tables, as diesel sees them. Held against both databases by `tests/it/migrations.rs`.
#![expect(missing_docs, reason = "columns are described where the tables are made: in `migrations/`")]

diesel::table! {
    signing_keys (kid) {
        kid -> Text,
        purpose -> Text,
        algorithm -> Text,
        public_jwk -> Text,
        sealed_private -> Text,
        origin -> Text,
        created_at -> BigInt,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    audit_facts (id) {
        id -> Text,
        at -> BigInt,
        actor -> Text,
        action -> Text,
        account_id -> Nullable<Text>,
        subject -> Text,
        detail -> Text,
    }
}

diesel::table! {
    outbox_events (id) {
        id -> Text,
        kind -> Text,
        account_id -> Nullable<Text>,
        payload -> Text,
        created_at -> BigInt,
        delivered_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    catalog_revisions (version) {
        version -> BigInt,
        digest -> Text,
        content_digest -> Text,
        document -> Binary,
        jws -> Binary,
        issued_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    orchestrators (id) {
        id -> Text,
        name -> Text,
        issuer -> Text,
        client_id -> Text,
        algorithms -> Text,
        existing_account -> Text,
        may_open_accounts -> Bool,
        email_domains -> Text,
        settlement_url -> Nullable<Text>,
        currency -> Text,
        monthly_ceiling -> BigInt,
        provisional_ceiling -> BigInt,
        origin -> Text,
        created_at -> BigInt,
        suspended_at -> Nullable<BigInt>,
        distrusted_keys -> Text,
    }
}

diesel::table! {
    accounts (id) {
        id -> Text,
        state -> Text,
        opened_by -> Text,
        email -> Nullable<Text>,
        email_index -> Nullable<Text>,
        email_skeleton -> Nullable<Text>,
        email_trust -> Text,
        created_at -> BigInt,
        changed_at -> BigInt,
        spending_stopped_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    email_owners (email_index) {
        email_index -> Text,
        account_id -> Text,
        claimed_at -> BigInt,
    }
}

diesel::table! {
    identity_links (orchestrator_id, tenant, subject) {
        orchestrator_id -> Text,
        tenant -> Text,
        subject -> Text,
        account_id -> Text,
        created_at -> BigInt,
        scopes -> Nullable<Text>,
    }
}

diesel::table! {
    assertion_uses (orchestrator_id, assertion_key) {
        orchestrator_id -> Text,
        assertion_key -> Text,
        assertion_hash -> Text,
        request_hash -> Text,
        sealed_answer -> Text,
        used_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    grants (id) {
        id -> Text,
        account_id -> Text,
        orchestrator_id -> Text,
        client -> Text,
        scope -> Text,
        issued_at -> BigInt,
        expires_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
        consent_id -> Nullable<Text>,
    }
}

diesel::table! {
    deep_links (token_hash) {
        token_hash -> Text,
        account_id -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    sessions (token_hash) {
        token_hash -> Text,
        account_id -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
        method -> Text,
        authenticated_at -> BigInt,
    }
}

diesel::table! {
    budgets (account_id, orchestrator_id) {
        account_id -> Text,
        orchestrator_id -> Text,
        currency -> Text,
        ceiling -> BigInt,
        changed_at -> BigInt,
        stopped_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    payment_tokens (account_id, id) {
        account_id -> Text,
        id -> Text,
        orchestrator_id -> Text,
        token_key -> Text,
        token_hash -> Text,
        sealed_token -> Text,
        last4 -> Text,
        currency -> Text,
        max_amount -> BigInt,
        recurring -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    counters (account_id, id) {
        account_id -> Text,
        id -> Text,
        kind -> Text,
        subject -> Text,
        currency -> Text,
        period_start -> BigInt,
        period_end -> BigInt,
        ceiling -> BigInt,
        held -> BigInt,
        spent -> BigInt,
        carried -> BigInt,
    }
}

diesel::table! {
    holds (account_id, id) {
        account_id -> Text,
        id -> Text,
        counter_ids -> Text,
        resource_id -> Nullable<Text>,
        currency -> Text,
        amount -> BigInt,
        captured -> BigInt,
        state -> Text,
        description -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        settled_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    ledger_heads (account_id) {
        account_id -> Text,
        sequence -> BigInt,
        hash -> Text,
    }
}

diesel::table! {
    ledger_entries (account_id, sequence) {
        account_id -> Text,
        sequence -> BigInt,
        id -> Text,
        kind -> Text,
        hold_id -> Nullable<Text>,
        resource_id -> Nullable<Text>,
        counter_ids -> Text,
        currency -> Text,
        held_change -> BigInt,
        spent_change -> BigInt,
        description -> Text,
        at -> BigInt,
        previous_hash -> Text,
        hash -> Text,
    }
}

diesel::table! {
    charges (account_id, id) {
        account_id -> Text,
        id -> Text,
        hold_id -> Text,
        attempt -> BigInt,
        orchestrator_id -> Text,
        payment_token_id -> Text,
        currency -> Text,
        amount -> BigInt,
        state -> Text,
        authorization_id -> Nullable<Text>,
        reason -> Nullable<Text>,
        created_at -> BigInt,
        changed_at -> BigInt,
    }
}

diesel::table! {
    resources (account_id, id) {
        account_id -> Text,
        id -> Text,
        orchestrator_id -> Text,
        service -> Text,
        plan -> Text,
        name -> Text,
        catalog_version -> BigInt,
        catalog_digest -> Text,
        state -> Text,
        state_reason -> Nullable<Text>,
        hold_id -> Nullable<Text>,
        payment_token_id -> Nullable<Text>,
        configuration -> Text,
        sealed_credentials -> Nullable<Text>,
        credentials_shown_at -> Nullable<BigInt>,
        created_at -> BigInt,
        changed_at -> BigInt,
        project_id -> Nullable<Text>,
        price_parent -> Nullable<Text>,
        changing_to -> Nullable<Text>,
        generation -> BigInt,
        old_credentials_until -> Nullable<BigInt>,
        allowance_id -> Nullable<Text>,
        quarantined_at -> Nullable<BigInt>,
        client -> Nullable<Text>,
        unwanted_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    allowances (account_id, id) {
        account_id -> Text,
        id -> Text,
        currency -> Nullable<Text>,
        per_month -> Nullable<BigInt>,
        single -> Nullable<BigInt>,
        ends_at -> Nullable<BigInt>,
        offers -> Nullable<Text>,
        max_count -> Nullable<BigInt>,
        made -> BigInt,
    }
}

diesel::table! {
    operations (account_id, id) {
        account_id -> Text,
        id -> Text,
        resource_id -> Text,
        verb -> Text,
        state -> Text,
        step -> Text,
        attempts -> BigInt,
        reason -> Nullable<Text>,
        created_at -> BigInt,
        deadline_at -> BigInt,
        next_try_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        failed_step -> Nullable<Text>,
    }
}

diesel::table! {
    usage_events (source, event_id) {
        source -> Text,
        event_id -> Text,
        fingerprint -> Text,
        account_id -> Text,
        resource_id -> Text,
        meter -> Text,
        quantity -> Text,
        cost -> BigInt,
        at -> BigInt,
        recorded_at -> BigInt,
    }
}

diesel::table! {
    usage_totals (account_id, resource_id, meter, period_start) {
        account_id -> Text,
        resource_id -> Text,
        meter -> Text,
        period_start -> BigInt,
        quantity -> Text,
        charged -> BigInt,
    }
}

diesel::table! {
    idempotency_keys (account_id, key_hash) {
        account_id -> Text,
        key_hash -> Text,
        fingerprint -> Text,
        subject -> Nullable<Text>,
        sealed_answer -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    dpop_proofs (proof_hash) {
        proof_hash -> Text,
        refused_from -> BigInt,
    }
}

diesel::table! {
    wire_settings (orchestrator_id) {
        orchestrator_id -> Text,
        kind -> Text,
        profile -> Text,
        signature_mode -> Text,
        account_answer -> Text,
        required_information -> Text,
        callback_url -> Nullable<Text>,
        public_keys_url -> Nullable<Text>,
        sealed_public_keys_token -> Nullable<Text>,
        client_id -> Nullable<Text>,
        client_secret_hash -> Nullable<Text>,
        notification_url -> Nullable<Text>,
        sealed_notification_secret -> Nullable<Text>,
        changed_at -> BigInt,
    }
}

diesel::table! {
    wire_secrets (orchestrator_id, id) {
        orchestrator_id -> Text,
        id -> Text,
        sealed_secret -> Text,
        created_at -> BigInt,
        retired_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    account_requests (id) {
        id -> Text,
        orchestrator_id -> Text,
        request_key -> Text,
        request_hash -> Text,
        tenant -> Text,
        subject -> Text,
        email_index -> Nullable<Text>,
        account_id -> Nullable<Text>,
        client -> Text,
        scope -> Text,
        code_challenge -> Nullable<Text>,
        sealed_confirmation_secret -> Text,
        state -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        decided_at -> Nullable<BigInt>,
        information -> Text,
    }
}

diesel::table! {
    authorization_codes (code_hash) {
        code_hash -> Text,
        account_id -> Text,
        orchestrator_id -> Text,
        client -> Text,
        scope -> Text,
        code_challenge -> Nullable<Text>,
        issued_at -> BigInt,
        expires_at -> BigInt,
        used_at -> Nullable<BigInt>,
        consent_id -> Nullable<Text>,
        redirect_uri -> Nullable<Text>,
        bound_to -> Nullable<Text>,
    }
}

diesel::table! {
    refresh_tokens (token_hash) {
        token_hash -> Text,
        family -> Text,
        grant_id -> Text,
        account_id -> Text,
        orchestrator_id -> Text,
        client -> Text,
        scope -> Text,
        issued_at -> BigInt,
        expires_at -> BigInt,
        replaced_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        consent_id -> Nullable<Text>,
        bound_to -> Nullable<Text>,
    }
}

diesel::table! {
    clients (id) {
        id -> Text,
        origin -> Text,
        metadata -> Text,
        secret_hash -> Nullable<Text>,
        account_id -> Nullable<Text>,
        introspects -> Bool,
        created_at -> BigInt,
        last_used_at -> BigInt,
    }
}

diesel::table! {
    authorization_requests (handle_hash) {
        handle_hash -> Text,
        client -> Text,
        request -> Text,
        state -> Text,
        account_id -> Nullable<Text>,
        created_at -> BigInt,
        expires_at -> BigInt,
        decided_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    consents (id) {
        id -> Text,
        account_id -> Text,
        orchestrator_id -> Text,
        client -> Text,
        client_digest -> Text,
        resource -> Text,
        scope -> Text,
        details -> Text,
        auth_time -> Nullable<BigInt>,
        acr -> Nullable<Text>,
        created_at -> BigInt,
        used_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
        remembered -> Bool,
    }
}

diesel::table! {
    agents (account_id, orchestrator_id, client) {
        account_id -> Text,
        orchestrator_id -> Text,
        client -> Text,
        id -> Text,
        name -> Nullable<Text>,
        scope -> Nullable<Text>,
        currency -> Nullable<Text>,
        per_month -> Nullable<BigInt>,
        created_at -> BigInt,
        used_at -> BigInt,
        paused_at -> Nullable<BigInt>,
        revoked_at -> Nullable<BigInt>,
        undo_from -> Nullable<BigInt>,
    }
}

diesel::table! {
    wire_resources (account_id, resource_id) {
        account_id -> Text,
        resource_id -> Text,
        orchestrator_id -> Text,
        orchestrator_resource_id -> Nullable<Text>,
        environment -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    plan_changes (account_id, operation_id) {
        account_id -> Text,
        operation_id -> Text,
        service -> Text,
        plan -> Text,
        configuration -> Text,
        catalog_version -> BigInt,
        catalog_digest -> Text,
        price_parent -> Nullable<Text>,
        hold_id -> Nullable<Text>,
        payment_token_id -> Nullable<Text>,
        sealed_credentials -> Nullable<Text>,
    }
}

diesel::table! {
    outbox_deliveries (event_id, orchestrator_id) {
        event_id -> Text,
        orchestrator_id -> Text,
        state -> Text,
        attempts -> BigInt,
        next_try_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        changed_at -> BigInt,
    }
}

diesel::table! {
    account_information (account_id, orchestrator_id, field) {
        account_id -> Text,
        orchestrator_id -> Text,
        field -> Text,
        sealed_value -> Text,
        verified -> Bool,
        changed_at -> BigInt,
    }
}

diesel::table! {
    signature_uses (orchestrator_id, jti_hash) {
        orchestrator_id -> Text,
        jti_hash -> Text,
        request_hash -> Text,
        refused_from -> BigInt,
    }
}

diesel::table! {
    account_openings (orchestrator_id, hour_start) {
        orchestrator_id -> Text,
        hour_start -> BigInt,
        opened -> BigInt,
    }
}

diesel::joinable!(identity_links -> accounts (account_id));

diesel::joinable!(outbox_deliveries -> outbox_events (event_id));

diesel::allow_tables_to_appear_in_same_query!(outbox_deliveries, outbox_events);

diesel::table! {
    log_in_steps (id) {
        id -> Text,
        token_hash -> Nullable<Text>,
        kind -> Text,
        browser_hash -> Text,
        sealed_facts -> Text,
        created_at -> BigInt,
        expires_at -> BigInt,
        used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    upstream_links (issuer, subject, account_id) {
        issuer -> Text,
        subject -> Text,
        account_id -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    passkeys (credential_id) {
        credential_id -> Text,
        account_id -> Text,
        name -> Text,
        credential -> Text,
        created_at -> BigInt,
        used_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    mails (event_id) {
        event_id -> Text,
        state -> Text,
        attempts -> BigInt,
        next_try_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        changed_at -> BigInt,
    }
}

diesel::joinable!(mails -> outbox_events (event_id));

diesel::allow_tables_to_appear_in_same_query!(mails, outbox_events);

diesel::table! {
    device_requests (device_hash) {
        device_hash -> Text,
        user_hash -> Text,
        client -> Text,
        scope -> Text,
        address -> Text,
        state -> Text,
        handle_hash -> Nullable<Text>,
        code_challenge -> Nullable<Text>,
        wait_seconds -> BigInt,
        next_poll_at -> BigInt,
        created_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    address_openings (orchestrator_id, address_fold, hour_start) {
        orchestrator_id -> Text,
        address_fold -> Text,
        hour_start -> BigInt,
        opened -> BigInt,
    }
}

diesel::table! {
    sidecars (account_id) {
        account_id -> Text,
        email_index -> Text,
        orchestrator_id -> Text,
        tenant -> Text,
        subject -> Text,
        opened_at -> BigInt,
        outcome -> Nullable<Text>,
        decided_by -> Nullable<Text>,
        decided_at -> Nullable<BigInt>,
    }
}

diesel::joinable!(sidecars -> accounts (account_id));

diesel::allow_tables_to_appear_in_same_query!(accounts, email_owners, identity_links, sidecars);

diesel::table! {
    delegations (orchestrator_id, key_id, tenant, subject, account_id) {
        orchestrator_id -> Text,
        key_id -> Text,
        tenant -> Text,
        subject -> Text,
        account_id -> Text,
        first_at -> BigInt,
        last_at -> BigInt,
    }
}

diesel::table! {
    distrusts (id) {
        id -> Text,
        orchestrator_id -> Text,
        since -> BigInt,
        key_id -> Nullable<Text>,
        tenant -> Nullable<Text>,
        subject -> Nullable<Text>,
        depth -> Text,
        cause -> Text,
        suspended -> Bool,
        phase -> Text,
        done_to -> Text,
        begun_at -> BigInt,
        tokens_dead_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        lifted_at -> Nullable<BigInt>,
        event_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    distrust_items (distrust_id, kind, account_id, subject) {
        distrust_id -> Text,
        kind -> Text,
        account_id -> Text,
        subject -> Text,
        was -> Text,
        at -> BigInt,
        restored_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    cases (id) {
        id -> Text,
        account_id -> Text,
        kind -> Text,
        cause -> Text,
        opened_at -> BigInt,
        evidence -> Nullable<Text>,
        closed_at -> Nullable<BigInt>,
        closed_by -> Nullable<Text>,
        note -> Nullable<Text>,
    }
}

diesel::table! {
    precautions (account_id, orchestrator_id) {
        account_id -> Text,
        orchestrator_id -> Text,
        remove_after -> Nullable<BigInt>,
        write_after -> Nullable<BigInt>,
        cooling_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    security_streams (orchestrator_id) {
        orchestrator_id -> Text,
        audience -> Text,
        accepts_push -> Bool,
        push_token_hash -> Nullable<Text>,
        poll_url -> Nullable<Text>,
        sealed_poll_token -> Nullable<Text>,
        next_poll_at -> Nullable<BigInt>,
        send_url -> Nullable<Text>,
        sealed_send_token -> Nullable<Text>,
        verified_at -> Nullable<BigInt>,
        changed_at -> BigInt,
    }
}

diesel::table! {
    security_events (orchestrator_id, jti) {
        orchestrator_id -> Text,
        jti -> Text,
        event -> Text,
        account_id -> Nullable<Text>,
        outcome -> Text,
        received_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(resources, operations, distrust_items);

diesel::table! {
    brought_resources (account_id, resource_id) {
        account_id -> Text,
        resource_id -> Text,
        from_account -> Text,
        orchestrator_id -> Text,
        brought_at -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(brought_resources, resources);

diesel::allow_tables_to_appear_in_same_query!(brought_resources, delegations, identity_links);

diesel::allow_tables_to_appear_in_same_query!(distrusts, identity_links, orchestrators);

diesel::table! {
    claims (account_id) {
        account_id -> Text,
        method -> Text,
        claimed_at -> BigInt,
    }
}

diesel::table! {
    session_proofs (token_hash) {
        token_hash -> Text,
        proofs -> Text,
        created_at -> BigInt,
    }
}

diesel::table! {
    renewals (account_id, resource_id) {
        account_id -> Text,
        resource_id -> Text,
        generation -> BigInt,
        attempts -> BigInt,
        next_try_at -> BigInt,
    }
}

diesel::table! {
    consent_turns (account_id, client, resource) {
        account_id -> Text,
        client -> Text,
        resource -> Text,
        handle_hash -> Text,
        sealed_handle -> Text,
        asked_at -> BigInt,
        expires_at -> BigInt,
    }
}

diesel::table! {
    consent_patience (account_id, client) {
        account_id -> Text,
        client -> Text,
        day_start -> BigInt,
        prompts -> BigInt,
        denials -> BigInt,
        waits_until -> Nullable<BigInt>,
    }
}

diesel::table! {
    scope_refusals (account_id, client, resource, scope, details_digest) {
        account_id -> Text,
        client -> Text,
        resource -> Text,
        scope -> Text,
        client_digest -> Text,
        details_digest -> Text,
        refused_at -> BigInt,
    }
}

diesel::table! {
    allowance_lines (account_id, allowance_id, service, plan) {
        account_id -> Text,
        allowance_id -> Text,
        service -> Text,
        plan -> Text,
        currency -> Nullable<Text>,
        price_ceiling -> BigInt,
        max_count -> BigInt,
        made -> BigInt,
    }
}
