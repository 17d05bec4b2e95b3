//! What every refresh changes, by key. Prepared once per connection: diesel prepares its own updates anew each time.

use diesel::backend::Backend;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, HasSqlType, Text};

use crate::clock::Timestamp;
use crate::db::{DbConnection, directly};
use crate::ids::ConsentId;
use crate::secret::SecretHash;

/// Sets the time of a consent's use, if nobody took it back.
struct UseConsent<'a> {
    id: &'a ConsentId,
    now: Timestamp,
}

/// Marks a refresh token as replaced, if it still is good.
struct ReplaceRefresh<'a> {
    hash: &'a SecretHash,
    now: Timestamp,
}

impl QueryId for UseConsent<'_> {
    type QueryId = UseConsent<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl QueryId for ReplaceRefresh<'_> {
    type QueryId = ReplaceRefresh<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<C> RunQueryDsl<C> for UseConsent<'_> {}
impl<C> RunQueryDsl<C> for ReplaceRefresh<'_> {}

impl<DB> QueryFragment<DB> for UseConsent<'_>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text>,
    Timestamp: ToSql<BigInt, DB>,
    ConsentId: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE consents SET used_at = ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(" WHERE id = ");
        out.push_bind_param::<Text, _>(self.id)?;
        out.push_sql(" AND revoked_at IS NULL");
        Ok(())
    }
}

impl<DB> QueryFragment<DB> for ReplaceRefresh<'_>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text>,
    Timestamp: ToSql<BigInt, DB>,
    SecretHash: ToSql<Text, DB>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("UPDATE refresh_tokens SET replaced_at = ");
        out.push_bind_param::<BigInt, _>(&self.now)?;
        out.push_sql(" WHERE token_hash = ");
        out.push_bind_param::<Text, _>(self.hash)?;
        out.push_sql(" AND replaced_at IS NULL AND revoked_at IS NULL AND expires_at > ");
        out.push_bind_param::<BigInt, _>(&self.now)
    }
}

/// Whether it stands.
pub(super) fn use_consent(conn: &mut DbConnection, id: &ConsentId, now: Timestamp) -> QueryResult<bool> {
    let update = UseConsent { id, now };
    Ok(directly!(conn, |conn| update.execute(conn))? == 1)
}

/// Whether this call replaced it.
pub(super) fn replace_refresh(conn: &mut DbConnection, hash: &SecretHash, now: Timestamp) -> QueryResult<bool> {
    let update = ReplaceRefresh { hash, now };
    Ok(directly!(conn, |conn| update.execute(conn))? == 1)
}
