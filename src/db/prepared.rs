//! Statements that are prepared once per connection. diesel prepares its own `UPDATE` and `DELETE` anew at each use: those by
//! key that every token or purchase needs are written here as text with their values in between.

/// Makes a statement: text, and after it a value with its Rust type and its SQL type. Each value has a name of its own, and
/// the struct has them as fields.
macro_rules! prepared {
    ($(#[$about:meta])* $name:ident: $text:literal) => {
        $(#[$about])*
        struct $name;

        impl ::diesel::query_builder::QueryId for $name {
            type QueryId = Self;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl<C> ::diesel::RunQueryDsl<C> for $name {}

        impl<DB: ::diesel::backend::Backend> ::diesel::query_builder::QueryFragment<DB> for $name {
            fn walk_ast<'b>(
                &'b self,
                mut out: ::diesel::query_builder::AstPass<'_, 'b, DB>,
            ) -> ::diesel::QueryResult<()> {
                out.push_sql($text);
                Ok(())
            }
        }
    };
    ($(#[$about:meta])* $name:ident: $($text:literal $(($value:ident: $rust:ty as $sql:ty))?)+) => {
        $(#[$about])*
        struct $name<'a> { $($($value: &'a $rust,)?)+ }

        impl ::diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;
            const HAS_STATIC_QUERY_ID: bool = true;
        }

        impl<C> ::diesel::RunQueryDsl<C> for $name<'_> {}

        impl<DB> ::diesel::query_builder::QueryFragment<DB> for $name<'_>
        where
            DB: ::diesel::backend::Backend $($( + ::diesel::sql_types::HasSqlType<$sql>)?)+,
            $($($rust: ::diesel::serialize::ToSql<$sql, DB>,)?)+
        {
            fn walk_ast<'b>(
                &'b self,
                mut out: ::diesel::query_builder::AstPass<'_, 'b, DB>,
            ) -> ::diesel::QueryResult<()> {
                $(
                    out.push_sql($text);
                    $(out.push_bind_param::<$sql, $rust>(self.$value)?;)?
                )+
                Ok(())
            }
        }
    };
}
pub(crate) use prepared;
