//! Pages of lists: how many, and where the last one ended.

use std::str::FromStr;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::http::problem::{Problem, table};

/// The most rows of one page.
const MAX: i64 = 100;

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many rows: 1 to 100; 20 when absent.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl PageQuery {
    /// How many rows.
    pub(crate) fn limit(&self) -> Result<i64, Problem> {
        match self.limit.unwrap_or(20) {
            limit @ 1..=MAX => Ok(limit),
            _ => Err(Problem::new(&table::BAD_REQUEST, format!("`limit` is a whole number from 1 to {MAX}."))),
        }
    }

    /// Where the page before ended.
    pub(crate) fn cursor<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        cursor.parse().map(Some).map_err(|_not_ours| {
            Problem::new(&table::BAD_REQUEST, "`cursor` is not the `next_cursor` of a page of this list.")
        })
    }
}
