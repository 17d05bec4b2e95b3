//! What stands beside what is measured: a PostgreSQL server with `pgbench`, and the machine.

pub(crate) mod machine;
pub(crate) mod postgres;
